"""The page outputs/index.html: every clip with its state, its results side by side, and what to do about it.

1. `part`: notes which jobs have changed, reads them in small portions, and has the page written in a thread.
2. `cards`: what the page says about a job, from the journal.
3. `results`: what it says about a result, from the manifest beside it; makes the small picture of it.
4. `files`: writes the page. `index.html` is plain HTML. `index_files/` has the style sheet, the script, the data that
   the script shows (`data.js`), and the progress of what runs (`progress.js`), which an open page reads again.
5. `marks`: what `povwatch marks import` writes beside the results.

A browser opens the page from a disk or a share, where a script may not read files: so the data are scripts too.
"""
