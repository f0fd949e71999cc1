"""Opens, writes and watches files and folders, never through a link."""
