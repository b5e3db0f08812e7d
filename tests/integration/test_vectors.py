# SPDX-License-Identifier: MIT
"""Golden vectors through the independent decoder; the unit tests of lib/protocol read the same files."""
import pathlib

import omproto as p
import pytest

VECTORS = sorted((pathlib.Path(__file__).parents[1] / "vectors").glob("*.hex"))
KINDS = {
    "v1_request": (p.v1_request_decode, p.v1_request_encode),
    "v1_response": (p.v1_response_decode, p.v1_response_encode),
    "v3_hello_reply": (p.hello_reply_decode, p.hello_reply_encode),
    "v3_hello": (p.hello_decode, p.hello_encode),
    "v3_request": (p.request_decode, p.request_encode),
    "v3_response": (p.response_decode, p.response_encode),
    "ring_attach": (p.ring_attach_decode, p.ring_attach_encode),
    "ring_grant": (p.ring_grant_decode, p.ring_grant_encode),
    "udp_request": (p.udp_request_decode, p.udp_request_encode),
    "udp_response": (p.udp_response_decode, p.udp_response_encode),
}


def load(path):
    fields, data = {}, b""
    for line in path.read_text(encoding="utf-8").splitlines():
        head = line.split(";")[0]
        if not line or line.startswith("#"):
            continue
        if " =" in head:
            name, value = line.split(" =", 1)
            fields[name] = value.removeprefix(" ")
        else:
            data += bytes.fromhex(head)
    return fields, data


def value_of(name, text):
    if name == "uri":
        return text.encode()
    if name in ("metadata", "extra", "instance", "body"):
        return bytes.fromhex(text)
    return int(text, 0)


def test_there_are_vectors_of_every_kind():
    assert len(VECTORS) >= 30
    for kind in KINDS:
        assert any(v.stem.startswith(kind) for v in VECTORS), kind


def prefix_is_nothing(decode, data, kind, message):
    """More of a stream may come; a datagram is whole or bad, but for its padding and for a response that is bare."""
    if not kind.startswith("udp"):
        return decode(data) is None
    try:
        cut, _ = decode(data)
    except p.Bad:
        return True
    return cut.padding < message.padding if kind.startswith("udp_request") else cut.bare


@pytest.mark.parametrize("path", VECTORS, ids=lambda v: v.stem)
def test_vector(path):
    decode, encode = next(functions for kind, functions in KINDS.items() if path.stem.startswith(kind))
    fields, data = load(path)
    canonical = fields.pop("canonical", "yes") == "yes"
    if fields.pop("result", "ok") == "bad":
        with pytest.raises(p.Bad) as bad:
            decode(data)
        for name, text in fields.items():
            assert getattr(bad.value, name, bad.value.fields.get(name)) == value_of(name, text), name
        return
    message, used = decode(data)
    assert used == len(data)
    for name, text in fields.items():
        assert getattr(message, name) == value_of(name, text), name
    assert set(fields) | {"status"} >= set(message._fields), "a field is not checked"
    for end in range(len(data)):
        assert prefix_is_nothing(decode, data[:end], path.stem, message)
    if canonical:
        assert encode(message) == data


def test_metadata_that_runs_over_is_bad():
    assert p.metadata(bytes.fromhex("030001780600040000010201000100")) == {3: b"x", 6: b"\0\0\1\2", 1: b"\0"}
    for raw in ("03", "0300", "030001", "03000278", "0300017803"):
        with pytest.raises(p.Bad):
            p.metadata(bytes.fromhex(raw))
