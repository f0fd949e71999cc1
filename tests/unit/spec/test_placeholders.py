"""How the texts of templates are written, and which mistakes are told."""

import pytest

from povwatch.spec.placeholders import BadText, Placeholder, parts_of

READ = {
    "plain | text": ["plain | text"],
    "{stem} at work": ["stem", " at work"],
    "{{stem}}": ["{", "stem", "}"],
    "{light: sun|lamp}": [("light", "sun", "lamp")],
    "{light:sun}": [("light", "sun")],
    "{ light : morning sun | lamp }}}": [("light", "morning sun", "lamp"), "}"],
    r"{price: 1\|2|\{3\}|\\|\n}": [("price", "1|2", "{3}", "\\", "\\n")],
    "{light: sun|sun|lamp} {light}": [("light", "sun", "sun", "lamp"), " ", "light"],
    "{licht: hell: grell|trüb!}": [("licht", "hell: grell", "trüb!")],
}


@pytest.mark.parametrize(("text", "parts"), READ.items(), ids=READ)
def test_text_is_read(text, parts):
    found = [
        part if isinstance(part, str) else (part.name, *part.alternatives) if part.alternatives else part.name
        for part in parts_of(text)
    ]
    assert found == parts
    for part in parts_of(text):
        if isinstance(part, Placeholder):
            assert text[part.at :].startswith(part.written)


BAD = {
    "{light: a|b": "{light: a|b is never closed",
    "a { b": "{ b is never closed",
    "{light: a|b\\}": "is never closed",
    "{light: a\\": "is never closed",
    "a } b": "a } has a closing brace that stands alone",
    "{light: a|{hour: x|y}}": "{light: a|{ has another brace inside",
    "{light: a{{b}}|c}": "has another brace inside",
    "{a|b}": "{a|b} is a choice without a name",
    "{: a|b}": "{: a|b} is a choice without a name",
    "{:}": "{:} is a choice without a name",
    "{the light: a|b}": "{the light: a|b} has a name that is none: the light",
    "{light: }": "{light: } has no alternatives",
    "{light:}": "{light:} has no alternatives",
    "{light: a|}": "{light: a|} has an empty alternative",
    "{light: |a}": "{light: |a} has an empty alternative",
    "{light: a||b}": "{light: a||b} has an empty alternative",
    "{light: a| |b}": "{light: a| |b} has an empty alternative",
}


@pytest.mark.parametrize(("text", "words"), BAD.items(), ids=BAD)
def test_mistake_is_told(text, words):
    with pytest.raises(BadText) as caught:
        parts_of(text)
    assert words in str(caught.value)
    assert caught.value.todo
    assert caught.value.found in text


def test_long_placeholder_is_cut():
    with pytest.raises(BadText) as caught:
        parts_of("{light: " + "a" * 5000)
    assert len(str(caught.value)) < 100
