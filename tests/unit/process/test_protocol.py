import json
import socket
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from povwatch.process import protocol
from povwatch.process.channel import Channel
from povwatch.process.protocol import ProtocolError, decode, encode

GOLDEN = [
    (protocol.Load({"steps": 35}), '{"type":"load","seq":1,"config":{"steps":35}}'),
    (
        protocol.Generate({"id": 7, "name": "clip"}, "r1", "/w", "/c"),
        '{"type":"generate","seq":1,"job":{"id":7,"name":"clip"},"run_id":"r1","workdir":"/w","checkpoint_dir":"/c"}',
    ),
    (protocol.Cancel(7, "r1", "deleted"), '{"type":"cancel","seq":1,"job_id":7,"run_id":"r1","why":"deleted"}'),
    (
        protocol.CheckPrompts(3, ["hands", "blur"]),
        '{"type":"check-prompts","seq":1,"number":3,"texts":["hands","blur"]}',
    ),
    (protocol.Shutdown(), '{"type":"shutdown","seq":1}'),
    (protocol.Hello(42, "3.10.12"), '{"type":"hello","seq":1,"pid":42,"python":"3.10.12","protocol":3}'),
    (protocol.LoadProgress("weights", 0.5), '{"type":"load-progress","seq":1,"stage":"weights","fraction":0.5}'),
    (protocol.LoadProgress("weights", None), '{"type":"load-progress","seq":1,"stage":"weights","fraction":null}'),
    (protocol.Loaded({"real": True}), '{"type":"loaded","seq":1,"capabilities":{"real":true}}'),
    (
        protocol.LoadFailed("error", "no model", "get it"),
        '{"type":"load-failed","seq":1,"kind":"error","message":"no model","todo":"get it"}',
    ),
    (protocol.Heartbeat(), '{"type":"heartbeat","seq":1}'),
    (protocol.Started(7, "r1"), '{"type":"started","seq":1,"job_id":7,"run_id":"r1"}'),
    (
        protocol.Progress(7, "r", "vae", 1, 3, 7, 35),
        '{"type":"progress","seq":1,"job_id":7,"run_id":"r","stage":"vae","chunk":1,"chunks":3,"step":7,"steps":35}',
    ),
    (
        protocol.Generated(7, "r1", {"path": "/w/\udcff.mp4"}),
        '{"type":"generated","seq":1,"job_id":7,"run_id":"r1","artifact":{"path":"/w/\\udcff.mp4"}}',
    ),
    (protocol.Blocked(7, "r1", "no"), '{"type":"blocked","seq":1,"job_id":7,"run_id":"r1","message":"no"}'),
    (
        protocol.Failed(7, "r1", "sticky", "CUDA", "replace"),
        '{"type":"failed","seq":1,"job_id":7,"run_id":"r1","kind":"sticky","message":"CUDA","todo":"replace"}',
    ),
    (protocol.Cancelled(7, "r1"), '{"type":"cancelled","seq":1,"job_id":7,"run_id":"r1"}'),
    (
        protocol.PromptsChecked(3, [[{"filter": "Blocklist"}]], "", ""),
        '{"type":"prompts-checked","seq":1,"number":3,"verdicts":[[{"filter":"Blocklist"}]],"kind":"","problem":""}',
    ),
    (protocol.Refused("Another one is."), '{"type":"refused","seq":1,"why":"Another one is."}'),
    (
        protocol.Wanted(3, "m:E", {"steps": 35}, {"n1": 599.5}),
        '{"type":"wanted","seq":1,"workers":3,"engine":"m:E","config":{"steps":35},"rests":{"n1":599.5}}',
    ),
    (protocol.Signal(9), '{"type":"signal","seq":1,"number":9}'),
    (
        protocol.BridgeHello("1.0", 42, "2.57.0", "head:6379"),
        '{"type":"bridge-hello","seq":1,"povwatch":"1.0","pid":42,"ray":"2.57.0","address":"head:6379","protocol":3}',
    ),
    (
        protocol.PoolReport(
            [{"id": "n1", "name": "gpu-02", "gpus": 8, "workers": 1, "problem": ""}], 3, 1, ["No node has a GPU."]
        ),
        (
            '{"type":"pool-report","seq":1,"nodes":[{"id":"n1","name":"gpu-02","gpus":8,"workers":1,"problem":""}],'
            '"asked":3,"placed":1,"problems":["No node has a GPU."]}'
        ),
    ),
    (
        protocol.Offer("w1", "n1", "gpu-02", ["H200"], 42, "m:E", None, None),
        (
            '{"type":"offer","seq":1,"worker":"w1","node":"n1","node_name":"gpu-02","gpus":["H200"],"pid":42,'
            '"engine":"m:E","config":null,"capabilities":null}'
        ),
    ),
    (
        protocol.Offer("w1", "n1", "gpu-02", [], 42, "m:E", {"steps": 35}, {"real": True}),
        (
            '{"type":"offer","seq":1,"worker":"w1","node":"n1","node_name":"gpu-02","gpus":[],"pid":42,'
            '"engine":"m:E","config":{"steps":35},"capabilities":{"real":true}}'
        ),
    ),
    (protocol.Output(["a", "b"]), '{"type":"output","seq":1,"lines":["a","b"]}'),
    (
        protocol.Ended("exited", -9, "killed"),
        '{"type":"ended","seq":1,"reason":"exited","returncode":-9,"detail":"killed"}',
    ),
    (protocol.Ended("node", None, ""), '{"type":"ended","seq":1,"reason":"node","returncode":null,"detail":""}'),
]


@pytest.mark.parametrize(("message", "line"), GOLDEN, ids=lambda value: getattr(value, "type", ""))
def test_message_is_this_line_and_back(message, line):
    assert encode(message, 1) == line.encode() + b"\n"
    assert decode(line.encode()) == (message, 1)


def test_every_message_has_its_golden_line():
    assert {type(message) for message, _ in GOLDEN} == set(get_args(protocol.Message))


def test_job_messages_name_the_attempt():
    """Whatever concerns a job names it and its attempt."""
    for message, line in GOLDEN:
        values = json.loads(line)
        if "run_id" in values:
            assert message.job_id == 7
            assert message.run_id == values["run_id"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "Not JSON"),
        (b"hello", "Not JSON"),
        (b"\xff", "Not JSON"),
        (b"[" * 100_000, "Not JSON"),
        (b"[]", "Not an object"),
        (b'{"seq":1}', "Unknown type None"),
        (b'{"type":"predict","seq":1}', "Unknown type 'predict'"),
        (b'{"type":["load"],"seq":1}', "Unknown type"),
        (b'{"type":"shutdown"}', "shutdown.seq is None"),
        (b'{"type":"shutdown","seq":0}', "shutdown.seq is 0"),
        (b'{"type":"shutdown","seq":true}', "shutdown.seq is True"),
        (b'{"type":"shutdown","seq":1,"why":"x"}', "shutdown has unknown why"),
        (b'{"type":"cancelled","seq":1,"run_id":"r"}', "cancelled lacks job_id"),
        (b'{"type":"cancelled","seq":1,"job_id":"7","run_id":"r"}', "cancelled.job_id is '7'"),
        (b'{"type":"cancelled","seq":1,"job_id":true,"run_id":"r"}', "cancelled.job_id is 'True'"),
        (b'{"type":"cancelled","seq":1,"job_id":7,"run_id":null}', "cancelled.run_id is 'None'"),
        (b'{"type":"load-progress","seq":1,"stage":"s","fraction":NaN}', "NaN is no JSON"),
        (b'{"type":"load-progress","seq":1,"stage":"s","fraction":1e999}', "load-progress.fraction is 'inf'"),
        (b'{"type":"load-progress","seq":1,"stage":"s","fraction":"half"}', "load-progress.fraction is 'half'"),
        (b'{"type":"loaded","seq":1,"capabilities":[]}', "loaded.capabilities is '[]'"),
        (
            b'{"type":"generate","seq":1,"job":{},"run_id":"","workdir":"","checkpoint_dir":""}',
            "generate.job.id is None",
        ),
        (b'{"type":"ended","seq":1,"reason":"lost","returncode":null,"detail":""}', "ended.reason is 'lost'"),
        (b'{"type":"ended","seq":1,"reason":"node","returncode":"9","detail":""}', "ended.returncode is '9'"),
        (b'{"type":"output","seq":1,"lines":["a",1]}', "output.lines"),
        (
            b'{"type":"pool-report","seq":1,"nodes":[1],"asked":0,"placed":0,"problems":[]}',
            "pool-report.nodes is '[1]'",
        ),
        (b'{"type":"pool-report","seq":1,"nodes":[{}],"asked":0,"placed":0,"problems":[]}', "pool-report.nodes has {}"),
        (b'{"type":"wanted","seq":1,"workers":1,"engine":"","config":{},"rests":{"n1":"long"}}', "wanted.rests"),
        (b" " * (protocol.LINE_MAX + 1), "at most"),
    ],
)
def test_what_is_no_message_is_refused(line, says):
    with pytest.raises(ProtocolError) as refusal:
        decode(line)
    assert says in str(refusal.value)


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), b"bytes", {"deep": [b"bytes"]}])
def test_what_json_lacks_is_not_sent(value):
    """What JSON cannot hold is not sent."""
    with pytest.raises(ProtocolError, match="loaded"):
        encode(protocol.Loaded({"x": value}), 1)


def test_longest_line():
    """The longest line goes through, and a longer one does not."""
    room = protocol.LINE_MAX - len(encode(protocol.Loaded({"x": ""}), 1))
    line = encode(protocol.Loaded({"x": "a" * room}), 1)
    assert len(line) == protocol.LINE_MAX
    assert decode(line)[1] == 1
    with pytest.raises(ProtocolError, match="at most"):
        encode(protocol.Loaded({"x": "a" * (room + 1)}), 1)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(line):
    try:
        message, seq = decode(line)
    except ProtocolError:
        return
    assert decode(encode(message, seq)) == (message, seq)


@given(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False) | st.none())
def test_any_text_and_number_comes_through(text, number, fraction):
    for message in (protocol.Cancel(number, text, text), protocol.LoadProgress(text, fraction)):
        assert decode(encode(message, 5)) == (message, 5)


@pytest.fixture
def ends():
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_messages_however_bytes_are_cut(ends):
    """A channel gives messages in order, however their bytes are cut."""
    raw, other = ends
    channel = Channel(other)
    said = [message for message, _ in GOLDEN]
    stream = b"".join(encode(message, seq) for seq, message in enumerate(said, 1))
    heard = []
    for at in range(0, len(stream), 7):
        raw.sendall(stream[at : at + 7])
        heard += channel.receive()
    assert heard == said
    raw.close()
    assert channel.receive() is None


def test_channel_counts_its_lines(ends):
    """A message that could not be encoded does not use up a number."""
    left, right = map(Channel, ends)
    left.send(protocol.Heartbeat())
    with pytest.raises(ProtocolError):
        left.send(protocol.Loaded({"x": object()}))
    left.send(protocol.Shutdown())
    heard = []
    while len(heard) < 2:
        heard += right.receive()
    assert heard == [protocol.Heartbeat(), protocol.Shutdown()]


@pytest.mark.parametrize("seqs", [(2,), (1, 1), (1, 3)])
def test_lost_or_repeated_line_is_noticed(ends, seqs):
    raw, other = ends
    raw.sendall(b"".join(encode(protocol.Heartbeat(), seq) for seq in seqs))
    with pytest.raises(ProtocolError, match=f"Line {seqs[-1]} came"):
        Channel(other).receive()


def test_endless_line_is_refused(ends):
    """A line without an end is refused before it fills the memory."""
    raw, other = ends
    channel = Channel(other)

    def pour():
        for _ in range(protocol.LINE_MAX // 32768 + 1):
            raw.sendall(b"x" * 32768)
            assert channel.receive() == []

    with pytest.raises(ProtocolError, match="more than"):
        pour()


def test_deaf_receiver_is_given_up(ends):
    """Sending to one who does not read gives up."""
    left, _ = ends
    channel = Channel(left)
    channel.give_up_after(0.05)
    with pytest.raises(BlockingIOError):
        channel.send(protocol.Load({"x": "y" * 1_000_000}))
