/* Stands between a process and libc: counts every call that changes a file, and at one of them does what it was told.
 *
 * Preloaded (LD_PRELOAD) by harness.py, which arms it in each child through ctypes. A call counts if it succeeds in
 * reaching a regular file or a folder: sockets, pipes and terminals are nobody's results.
 * For faults of the machine (`crash_below`) only what is below three folders counts, and opening a file to read it does
 * too: a machine refuses that as well.
 * The counters are in shared memory, so that the parent reads them when the child is dead.
 * Raw system calls are made in place of libc's own functions: each of them is one call of the kernel anyway.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXT4_IOC_SHUTDOWN 0x8004587d
#define WITHOUT_THE_LOG 2 /* EXT4_GOING_FLAGS_NOLOGFLUSH: nothing of what is in memory reaches the disk any more */
#define KEPT 65536

enum phase { BEFORE, HALF, AFTER };
enum action { COUNT, KILL, FAIL, FAIL_ON, CUT };

static struct shared {
  long count; /* calls so far */
  char kinds[KEPT]; /* one letter each: w rite, s ync, r ename, l ink, u nlink, m kdir, o pen, O pen to read, t runcate,
                       a ttributes */
  int failing;        /* the folder in which calls were refused; -1: in none yet */
} *shared;

static int armed, action, phase, code, disks[2] = {-1, -1};
static long at;
static char below[3][PATH_MAX]; /* state, inputs, outputs; empty where all counts */
static char refused[16] = "wsr"; /* the kinds of calls that fail */

__attribute__((constructor)) static void begin(void) {
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* -- for harness.py */

void crash_arm(long n, int what, int when, int error) {
  shared->count = 0;
  at = n, action = what, phase = when, code = error, shared->failing = -1, armed = 1;
}
void crash_mend(void) { action = COUNT; }
void crash_refuse(const char *kinds) { snprintf(refused, sizeof refused, "%s", kinds); }
void crash_below(const char *state, const char *inputs, const char *outputs) {
  const char *given[3] = {state, inputs, outputs};
  for (int i = 0; i < 3; i++) snprintf(below[i], sizeof below[i], "%s", given[i]);
}
void crash_pause(int paused) { armed = !paused; }
void crash_disks(int first, int second) { disks[0] = first, disks[1] = second; }
int crash_failing(void) { return shared->failing; }
long crash_count(void) { return shared->count; }
char crash_kind(long n) { return n > 0 && n <= KEPT ? shared->kinds[n - 1] : 0; }

/* -- what happens at a call */

static void die(void) {
  int flag = WITHOUT_THE_LOG;
  if (action == CUT)
    for (int i = 0; i < 2; i++)
      if (disks[i] >= 0) syscall(SYS_ioctl, disks[i], EXT4_IOC_SHUTDOWN, &flag);
  syscall(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

/* The folder that a path or an open file is below; -1 if it is below none of them. */
static int where(int folder, const char *path) {
  char found[PATH_MAX], link[32];
  int before = errno;
  if (!path || path[0] != '/') {
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t size = syscall(SYS_readlink, link, found, sizeof found - 1);
    errno = before;
    if (size < 0) return -1;
    found[size] = 0;
  } else {
    int open = -1;
    if (sscanf(path, "/proc/self/fd/%d", &open) == 1) return where(open, NULL);
    snprintf(found, sizeof found, "%s", path);
  }
  for (int i = 0; i < 3; i++) {
    size_t size = strlen(below[i]);
    if (!strncmp(found, below[i], size) && (found[size] == '/' || !found[size])) return i;
  }
  return -1;
}

/* Counts a call. 0: make it. 1: make half of it, then die. 2: make it, then die. -1: it fails with `code`. */
static int met(char kind, int folder, const char *path) {
  if (!armed) return 0;
  int place = 0;
  if (below[0][0] && (place = where(folder, path)) < 0) return 0;
  long n = __sync_add_and_fetch(&shared->count, 1);
  if (n <= KEPT) shared->kinds[n - 1] = kind;
  if (action == COUNT || n < at) return 0;
  if (action == FAIL || action == FAIL_ON) {
    if (action == FAIL && n > at) return 0;
    if (n > at && (place != shared->failing || !strchr(refused, kind))) return 0;
    if (n == at) shared->failing = place;
    errno = code;
    return -1;
  }
  if (n > at) return 0;
  if (phase == BEFORE) die();
  return phase == HALF && kind == 'w' ? 1 : 2;
}

static int of_interest(int fd) {
  struct stat found;
  int before = errno;
  int good = armed && fd > 2 && fstat(fd, &found) == 0 && (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode));
  errno = before;
  return good;
}

#define AROUND(kind, folder, path, type, call) \
  do { \
    int how = met(kind, folder, path); \
    if (how < 0) return -1; \
    type result = (call); \
    if (how) die(); \
    return result; \
  } while (0)

#define AROUND_FD(kind, fd, type, call) \
  do { \
    if (!of_interest(fd)) return (call); \
    AROUND(kind, fd, NULL, type, call); \
  } while (0)

/* -- bytes */

ssize_t write(int fd, const void *data, size_t size) {
  if (!of_interest(fd)) return syscall(SYS_write, fd, data, size);
  int how = met('w', fd, NULL);
  if (how < 0) return -1;
  ssize_t result = syscall(SYS_write, fd, data, how == 1 ? size / 2 : size);
  if (how) die();
  return result;
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t where) {
  if (!of_interest(fd)) return syscall(SYS_pwrite64, fd, data, size, where);
  int how = met('w', fd, NULL);
  if (how < 0) return -1;
  ssize_t result = syscall(SYS_pwrite64, fd, data, how == 1 ? size / 2 : size, where);
  if (how) die();
  return result;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t where) { return pwrite64(fd, data, size, where); }
ssize_t writev(int fd, const struct iovec *parts, int n) {
  AROUND_FD('w', fd, ssize_t, syscall(SYS_writev, fd, parts, n));
}
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags) {
  AROUND_FD('w', out, ssize_t, syscall(SYS_copy_file_range, in, in_at, out, out_at, size, flags));
}
ssize_t sendfile64(int out, int in, off64_t *in_at, size_t size) {
  AROUND_FD('w', out, ssize_t, syscall(SYS_sendfile, out, in, in_at, size));
}
ssize_t sendfile(int out, int in, off_t *in_at, size_t size) { return sendfile64(out, in, in_at, size); }
int ftruncate64(int fd, off64_t size) { AROUND_FD('t', fd, int, syscall(SYS_ftruncate, fd, size)); }
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
int truncate64(const char *path, off64_t size) { AROUND('t', AT_FDCWD, path, int, syscall(SYS_truncate, path, size)); }
int truncate(const char *path, off_t size) { return truncate64(path, size); }
int fallocate64(int fd, int mode, off64_t from, off64_t size) {
  AROUND_FD('t', fd, int, syscall(SYS_fallocate, fd, mode, from, size));
}
int fallocate(int fd, int mode, off_t from, off_t size) { return fallocate64(fd, mode, from, size); }

/* -- the disk */

int fsync(int fd) { AROUND_FD('s', fd, int, syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { AROUND_FD('s', fd, int, syscall(SYS_fdatasync, fd)); }

/* -- names */

static int opened(int folder, const char *path, int flags, mode_t mode) {
  int makes = flags & (O_CREAT | O_TRUNC) || (below[0][0] && (flags & O_TMPFILE) == O_TMPFILE);
  if (!makes && !below[0][0]) return syscall(SYS_openat, folder, path, flags, mode);
  AROUND(makes ? 'o' : 'O', folder, path, int, syscall(SYS_openat, folder, path, flags, mode));
}
#define MODE(flags, mode) \
  mode_t mode = 0; \
  if ((flags) & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
    va_list more; \
    va_start(more, flags); \
    mode = va_arg(more, mode_t); \
    va_end(more); \
  }
int open(const char *path, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags, mode) return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags, mode) return opened(folder, path, flags, mode); }

int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
  AROUND('r', to, new, int, syscall(SYS_renameat2, from, old, to, new, flags));
}
int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }
int linkat(int from, const char *old, int to, const char *new, int flags) {
  AROUND('l', to, new, int, syscall(SYS_linkat, from, old, to, new, flags));
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }
int symlinkat(const char *target, int to, const char *new) { AROUND('l', to, new, int, syscall(SYS_symlinkat, target, to, new)); }
int symlink(const char *target, const char *new) { return symlinkat(target, AT_FDCWD, new); }
int unlinkat(int folder, const char *path, int flags) { AROUND('u', folder, path, int, syscall(SYS_unlinkat, folder, path, flags)); }
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int mkdirat(int folder, const char *path, mode_t mode) { AROUND('m', folder, path, int, syscall(SYS_mkdirat, folder, path, mode)); }
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* -- attributes */

int fchmod(int fd, mode_t mode) { AROUND_FD('a', fd, int, syscall(SYS_fchmod, fd, mode)); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
  (void)flags;
  AROUND('a', folder, path, int, syscall(SYS_fchmodat, folder, path, mode));
}
int chmod(const char *path, mode_t mode) { return fchmodat(AT_FDCWD, path, mode, 0); }
int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
  AROUND('a', folder, path, int, syscall(SYS_utimensat, folder, path, times, flags));
}
int futimens(int fd, const struct timespec times[2]) {
  AROUND_FD('a', fd, int, syscall(SYS_utimensat, fd, NULL, times, 0));
}
