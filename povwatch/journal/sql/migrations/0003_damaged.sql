-- `povwatch go --damaged`: the stat signature of the file of which whatever decodes is to be run.

ALTER TABLE jobs ADD COLUMN damaged BLOB;
