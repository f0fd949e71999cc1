"""The model files of the real engines: where they come from, and whether they are whole. engines/needs.py lists them.

hub.py reaches the Hugging Face hub and its cache on this machine; only it imports the hub's client. fetch.py brings one
file into the cache: it resumes, and checks the file before anybody can see it. record.py keeps models.json, which says
what was fetched and checked, and finds what is here. prefetch.py puts these together. missing.py tells what the
configured engine lacks.
"""
