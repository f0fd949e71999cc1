"""Text filters without an engine: a word list of one word, and no file of the guardrail."""


class Engine:
    def load(self, config, report):
        about = {"name": "Blocklist", "looks_at": "text", "package": "toy 1"}
        return {"name": "text filters", "real": False, "controls": [], "filters": [about]}

    def check_prompts(self, texts):
        return [[self._check(text)] for text in texts]

    def _check(self, text):
        refused = "weapon" in text
        said = ("blocked", 'its list has "weapon"') if refused else ("passed", "")
        return {"filter": "Blocklist", "verdict": said[0], "message": said[1]}
