"""The model files of the real engines: which ones are needed, where they come from, whether they are whole.

needs.py lists repositories, revisions and files (pure). hub.py reaches the Hugging Face hub and its cache on this
machine; only it imports the hub's client. fetch.py brings one file into the cache: it resumes, and checks the file
before anybody can see it. record.py keeps models.json: what was fetched and checked, and finds
what is here. prefetch.py puts these together. missing.py reads the configuration.
"""
