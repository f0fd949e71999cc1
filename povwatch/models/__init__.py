"""The model files of the real engines: which are needed, where they come from, whether they are whole.

needs.py is a pure list of repositories, revisions and files. hub.py is the Hugging Face hub and its cache on this
machine, and the only file that imports its client. fetch.py brings one file into the cache: resumed, and checked before
anybody can see it. record.py is models.json, what was fetched and checked. look.py says what is here, without the
network. prefetch.py puts them together.
"""
