"""Model files: golden bytes, round trips, safetensors as oracle, damage of every kind."""

import hashlib
import io
import itertools
import json
import math
import os
import random
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from charlm import checkpoint
from charlm.errors import DataError, MissingInputError, StorageError

GOLDEN = Path(__file__).parent / "golden" / "tiny.safetensors"
DTYPES = ["float32", "float64", "int64", "int32", "uint16", "uint8"]
DIGEST = b'"charlm.sha256":"' + b"0" * 64 + b'"'

TENSORS = {
    "head.bias": np.array([0.5, -2.0], np.float32),
    "embed.weight": np.array([[1, 2, 3], [4, 5, 6]], np.float32),
    "a.byte": np.array(7, np.uint8),
}
METADATA = {"charlm.model": '{"cell":"gru"}', "note": "é"}


def sign(header: bytes, data: bytes = bytes(8)) -> bytes:
    """Return a whole file of this header, its digest of 64 zeros replaced by the right one."""
    whole = struct.pack("<Q", len(header)) + header + data
    return whole.replace(DIGEST, b'"charlm.sha256":"%s"' % hashlib.sha256(whole).hexdigest().encode())


def padded(header: bytes) -> bytes:
    return header + b" " * (-len(header) % 8)


def assert_same(got: dict, expected: dict) -> None:
    assert got.keys() == expected.keys()
    for name, array in got.items():
        np.testing.assert_array_equal(array, expected[name], strict=True)


# The layout

# In name order one byte, six floats, two floats; the spaces fill the last eight bytes of the header.
TINY_HEADER = padded(
    b'{"__metadata__":{"charlm.format":"1","charlm.model":"{\\"cell\\":\\"gru\\"}",%s,"note":"\\u00e9"},'
    b'"a.byte":{"data_offsets":[0,1],"dtype":"U8","shape":[]},'
    b'"embed.weight":{"data_offsets":[1,25],"dtype":"F32","shape":[2,3]},'
    b'"head.bias":{"data_offsets":[25,33],"dtype":"F32","shape":[2]}}' % DIGEST
)
TINY_DATA = struct.pack("<B6f2f", 7, 1, 2, 3, 4, 5, 6, 0.5, -2.0)


def test_golden_bytes(tmp_path):
    checkpoint.save(tmp_path / "m", TENSORS, METADATA)
    assert (tmp_path / "m").read_bytes() == GOLDEN.read_bytes() == sign(TINY_HEADER, TINY_DATA)


def test_golden_file_opens_and_is_saved_again_as_the_same_bytes(tmp_path):
    tensors, metadata = checkpoint.load(GOLDEN)
    assert_same(tensors, TENSORS)
    assert metadata == METADATA | {"charlm.format": "1"}
    checkpoint.save(tmp_path / "m", tensors, metadata)
    assert (tmp_path / "m").read_bytes() == GOLDEN.read_bytes()


def test_order_of_names_of_memory_and_of_bytes_leaves_no_trace(tmp_path):
    turned = {name: np.array(t, t.dtype.newbyteorder(), order="F") for name, t in reversed(TENSORS.items())}
    checkpoint.save(tmp_path / "m", turned, dict(reversed(METADATA.items())))
    assert (tmp_path / "m").read_bytes() == GOLDEN.read_bytes()


MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3)
VIEWS = [MATRIX.T, MATRIX[:, ::2], MATRIX[0, ::-1], MATRIX[:, 1], np.broadcast_to(MATRIX[0], (2, 3))]


@pytest.mark.parametrize("view", VIEWS, ids=["transposed", "steps", "backwards", "column", "broadcast"])
def test_views_are_saved_as_what_they_show(tmp_path, view):
    checkpoint.save(tmp_path / "m", {"a": view}, {})
    assert (tmp_path / "m").read_bytes().endswith(struct.pack(f"<{view.size}f", *view.flat))


# Round trips, with the package as oracle

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if dtype.startswith("f") else None,
    )
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
names = texts.filter(lambda name: name != "__metadata__")
tricks = ['"charlm.sha256":"', ',"charlm.sha256":"' + "0" * 64, DIGEST.decode(), '\\","charlm.sha256":"']
strings = texts | st.sampled_from([*tricks, 'x"charlm.sha256', 'x,"charlm.sha256', ",", ',"'])
contents = st.dictionaries(names, arrays, max_size=4)
keys = strings.filter(lambda key: key not in ("charlm.format", "charlm.sha256"))  # save sets them
metadatas = st.dictionaries(keys, strings, max_size=4)


@settings(deadline=None)
@given(contents, metadatas)
def test_round_trip(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.getbasetemp() / "round-trip"
    checkpoint.save(path, tensors, metadata)
    assert struct.unpack("<Q", path.read_bytes()[:8])[0] % 8 == 0
    loaded, told = checkpoint.load(path)
    assert_same(loaded, tensors)
    assert told == metadata | {"charlm.format": "1"}


@settings(deadline=None)
@given(contents, metadatas)
def test_the_package_reads_the_same(tmp_path_factory, tensors, metadata):
    safetensors = pytest.importorskip("safetensors", reason="the safetensors package is the oracle")
    path = tmp_path_factory.getbasetemp() / "oracle"
    checkpoint.save(path, tensors, metadata)
    with safetensors.safe_open(path, "np") as file:
        assert_same({name: file.get_tensor(name) for name in file.keys()}, tensors)  # noqa: SIM118
        told = file.metadata()
    assert len(told.pop("charlm.sha256")) == 64
    assert told == metadata | {"charlm.format": "1"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)], ids=str)
def test_loaded_tensors_are_aligned_writable_and_apart(tmp_path, dtype, shape):
    value = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    checkpoint.save(tmp_path / "m", {"a": np.uint8(1), "b": value, "c": value}, {})  # b begins at an odd byte
    tensors, _ = checkpoint.load(tmp_path / "m")
    assert tensors["b"].flags.aligned
    assert tensors["b"].dtype.isnative
    tensors["b"][...] = 9
    assert_same({"c": tensors["c"]}, {"c": value})


def test_loading_takes_at_most_twice_the_file(tmp_path):
    unaligned = {"a": np.uint8(1), "b": np.zeros(250_000), "c": np.zeros(250_000)}
    checkpoint.save(tmp_path / "m", unaligned, {})
    assert peak_of_loading(tmp_path / "m") < 2.2 * os.path.getsize(tmp_path / "m")


def peak_of_loading(path: Path) -> int:
    """Return the most bytes that were held at once while loading, refused or not."""
    tracemalloc.start()
    try:
        checkpoint.load(path)
    except DataError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


# Files that are damaged, foreign or missing


@pytest.fixture
def assert_refused(tmp_path):
    """Return a function asserting that a file of these bytes is refused, in one line that names it."""
    path = tmp_path / "m.safetensors"

    def check(content: bytes, reason: str = "cut short|not a charlm model|damaged") -> None:
        path.write_bytes(content)
        with pytest.raises(DataError, match=reason) as caught:
            checkpoint.load(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert str(caught.value).isprintable()

    check.path = path
    return check


def test_cut_at_every_byte_or_one_put_in(assert_refused):
    whole = GOLDEN.read_bytes()
    for at in range(len(whole)):
        assert_refused(whole[:at])
        assert_refused(whole[:at] + b" " + whole[at:])
    assert_refused(whole + b" ")


def test_every_bit_flipped(assert_refused):
    whole = GOLDEN.read_bytes()
    for at, bit in itertools.product(range(len(whole)), range(8)):
        assert_refused(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])


@pytest.mark.parametrize("length", [1, 100_000_001, 2**31, 2**63, 2**64 - 1])
def test_absurd_header_length(assert_refused, length):
    assert_refused(struct.pack("<Q", length), "cut short, or not a charlm model")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m")
    for path in (os.devnull, tmp_path / "m"):
        with pytest.raises(DataError, match="a pipe or a device, not a file"):
            checkpoint.load(path)


def test_a_header_over_the_limit_of_the_layout(tmp_path):
    with open(tmp_path / "m", "wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(100_000_009)  # a hole: it takes no space
    with pytest.raises(DataError, match="cut short, or not a charlm model"):
        checkpoint.load(tmp_path / "m")
    assert peak_of_loading(tmp_path / "m") < 100_000


@pytest.mark.parametrize("metadata", [None, METADATA, {"charlm.format": "1"}], ids=["none", "ours", "format"])
def test_a_file_that_the_package_wrote_is_no_model(assert_refused, metadata):
    oracle = pytest.importorskip("safetensors.numpy", reason="the safetensors package is the oracle")
    assert_refused(oracle.save(TENSORS, metadata), "not a charlm model, or rewritten by another program")


def test_two_digests(assert_refused):
    assert_refused(sign(header_of(more=b"," + DIGEST)), "not a charlm model, or rewritten by another program")


@pytest.mark.parametrize("name", ["absent", ".", "file/m", "x" * 300], ids=lambda name: name[:6])
def test_nothing_to_open(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(MissingInputError, match=r"cannot open .*; give a model's path"):
        checkpoint.load(tmp_path / name)


def test_a_device_that_fails_while_reading(monkeypatch):
    class Broken(io.FileIO):
        def readinto(self, _):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoint, "open", lambda path, mode: io.BufferedReader(Broken(path)), raising=False)
    with pytest.raises(StorageError, match=r"reading .* failed: Input/output error"):
        checkpoint.load(GOLDEN)


# Headers made in bad faith: well signed, wrong inside


def header_of(*tensors: bytes, version: bytes = b"1", more: bytes = b"") -> bytes:
    metadata = b'"__metadata__":{"charlm.format":"%s",%s%s}' % (version, DIGEST, more)
    return padded(b"{%s}" % b",".join([metadata, *tensors]))


def tensor(shape: str = "[2]", offsets: str = "[0,8]", dtype: str = '"F32"', name: str = "a") -> bytes:
    return f'"{name}":{{"data_offsets":{offsets},"dtype":{dtype},"shape":{shape}}}'.encode()


GOOD = header_of(tensor())
FOREIGN = "not one that charlm writes"
DEEP = "[" * 100_000 + "]" * 100_000


def variants(field: str, texts: str) -> dict[str, bytes]:
    return {f"{field} {text}": header_of(tensor(**{field: text})) for text in texts.split()}


HOSTILE = {
    **variants("shape", '2 "2" null {} [2.0] [2e0] [02] [true,2] [null] ["2"] [[2]] [NaN] [Infinity] [2,-0]'),
    **variants("shape", "[-2] [-1,-2] [18446744073709551618] [4611686018427387906] [4294967296,4294967296]"),
    **variants("offsets", "8 null {} [] [0] [0,4,8] [0,4] [0,9] [1,9] [-8,0] [8,0] [0.0,8.0] [false,8]"),
    **variants("dtype", 'F32 1 null [] {} "" "f32" "F31" "BF16" "BOOL" "O" "<f4" "float32"'),
    "shape empty and huge": header_of(tensor("[0,9223372036854775807,2]", "[0,0]")),
    "shape of 4000 digits": header_of(tensor("[" + "9" * 4000 + "]")),
    "shape of 5000 digits": header_of(tensor("[" + "9" * 5000 + "]")),
    "shape of 33 axes": header_of(tensor("[2" + ",1" * 32 + "]")),
    "shape of 100000 axes": header_of(tensor("[2" + ",99999999" * 100_000 + "]")),
    "shape nested deeply": header_of(tensor(DEEP)),
    "tensor nested deeply": header_of(b'"a":' + DEEP.encode()),
    "tensor a number": header_of(b'"a":1'),
    "tensor null": header_of(b'"a":null'),
    "tensor twice": header_of(tensor(), tensor()),
    "tensor without shape": padded(GOOD.replace(b',"shape":[2]', b"")),
    "tensor with another key": padded(GOOD.replace(b'"shape"', b'"s":0,"shape"')),
    "shape twice": padded(GOOD.replace(b'"shape"', b'"shape":[2],"shape"')),
    "same bytes twice": header_of(tensor(), tensor(name="b")),
    "overlap": header_of(tensor("[1]", "[0,4]"), tensor("[5]", "[3,8]", '"U8"', "b")),
    "hole": header_of(tensor("[1]", "[0,1]", '"U8"'), tensor("[4]", "[4,8]", '"U8"', "b")),
    "data out of order": header_of(tensor("[1]", "[4,8]"), tensor("[1]", "[0,4]", name="b")),
    "names out of order": padded(b"{" + tensor(name="b") + b"," + GOOD[1:]),
    "not JSON": GOOD.replace(b"]}}", b"]},"),
    "not ASCII": padded(GOOD.replace(b'"a"', '"é"'.encode())),
    "a list": padded(b"[{%s}]" % DIGEST.join([b'"":0,', b""])),
    "white space": padded(GOOD.replace(b',"a"', b', "a"')),
    "no padding": GOOD.rstrip(),
    "too much padding": GOOD + b" " * 8,
    "padding of tabs": GOOD.replace(b"  ", b"\t\t"),
    "metadata missing": padded(b'{"a":{"":0,%s}}' % DIGEST),
    "metadata twice": padded(b'{"__metadata__":{},' + GOOD[1:]),
    "metadata a list": padded(b'{"__metadata__":[],"a":{"":0,%s}}' % DIGEST),
    "metadata with a number": header_of(more=b',"x":1'),
    "metadata with an object": header_of(more=b',"x":{}'),
    "metadata with NaN": header_of(more=b',"x":NaN'),
    "digest elsewhere": padded(b'{"__metadata__":{"charlm.format":"1"},"a":{"":0,%s}}' % DIGEST),
    "format missing": padded(b'{"__metadata__":{"a":"",%s}}' % DIGEST),
    "format a number": padded(GOOD.replace(b'"1"', b"1")),
}


def test_the_hostile_headers_vary_a_good_one(tmp_path):
    (tmp_path / "m").write_bytes(sign(GOOD))
    assert_same(checkpoint.load(tmp_path / "m")[0], {"a": np.zeros(2, np.float32)})
    assert GOOD not in HOSTILE.values()


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE)
def test_hostile_header(assert_refused, header):
    assert_refused(sign(header), FOREIGN)
    assert peak_of_loading(assert_refused.path) < 100_000 + 20 * len(header)


@pytest.mark.parametrize("count", [0, 1, 3, 10**12], ids="{} floats".format)
def test_tensors_that_do_not_fill_the_data(assert_refused, count):
    assert_refused(sign(header_of(tensor(f"[{count}]", f"[0,{4 * count}]"))), "do not fill the file")
    assert peak_of_loading(assert_refused.path) < 100_000


def test_a_newer_format(assert_refused):
    newer = header_of(tensor("[4]", dtype='"F16"'), version=b"3")
    assert_refused(sign(newer), "written by a newer charlm: update charlm to read it")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize(("dtype", "layout"), [("F32", "<2f"), ("F64", "<2d")])
def test_a_file_with_a_value_that_is_not_finite(assert_refused, dtype, layout, value):
    data = struct.pack(layout, 0, value)
    header = header_of(tensor(offsets=f"[0,{len(data)}]", dtype=f'"{dtype}"'))
    assert_refused(sign(header, data), "tensor 'a' is not finite")


def test_mutated_headers_are_refused_or_are_what_save_would_write(tmp_path):
    rng = random.Random(0)
    before, after = TINY_HEADER.split(DIGEST)
    refused = 0
    for _ in range(600):
        parts = (mutate(rng, before), after) if rng.random() < 0.3 else (before, mutate(rng, after))
        whole = sign(DIGEST.join(parts), TINY_DATA)
        (tmp_path / "m").write_bytes(whole)
        try:
            tensors, metadata = checkpoint.load(tmp_path / "m")
        except DataError:
            refused += 1
        else:
            checkpoint.save(tmp_path / "m", tensors, metadata)
            assert (tmp_path / "m").read_bytes() == whole
    assert refused > 500


def mutate(rng: random.Random, text: bytes) -> bytes:
    """Put something in, and write the bytes behind it no time, once or twice."""
    start = rng.randrange(len(text))
    end = start + rng.randrange(12)
    piece = rng.choice([b"", b"0", b"-", b"9" * 20, b".0", b'"', b",", b"[]", b"{}", b"null", b"\x80", b"\0"])
    return text[:start] + piece + text[start:end] * rng.randrange(3) + text[end:]


def test_tensors_of_as_many_axes_as_numpy_takes(tmp_path):
    tensor = np.arange(6, dtype=np.float32).reshape([2, 3] + [1] * 30)
    checkpoint.save(tmp_path / "m", {"w": tensor}, {})
    np.testing.assert_array_equal(checkpoint.load(tmp_path / "m")[0]["w"], tensor)


@pytest.mark.parametrize("shape", [[2**60, 0], [0, 2**60], [2**59, 2, 0], [2**62, 0], [2**30, 2**30, 0]])
def test_empty_tensors_of_sizes_that_numpy_cannot_count_are_refused(tmp_path, shape):
    checkpoint.save(tmp_path / "m", {"w": np.zeros((7, 0))}, {})
    content = (tmp_path / "m").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["w"]["shape"] = shape
    header["__metadata__"]["charlm.sha256"] = "0" * 64
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    unsigned = len(text).to_bytes(8, "little") + text
    (tmp_path / "m").write_bytes(unsigned.replace(b"0" * 64, hashlib.sha256(unsigned).hexdigest().encode()))
    with pytest.raises(DataError):
        checkpoint.load(tmp_path / "m")
