"""What the checks of tritonclient's four clients share: they take the same arguments."""

from server import same
from tritonclient.utils import InferenceServerException

FULL_NAMES = ["lite0", "lite0:pixels", "lite0:tensor"]


def one_input(package, name, datatype, array, **more):
    """The one input of a request, for the client of this package: tritonclient.http or tritonclient.grpc."""
    value = package.InferInput(name, list(array.shape), datatype)
    value.set_data_from_numpy(array, **more)
    return [value]


def requests(package, given):
    """For each form of images: the model's name, the request's input, and the logits of the answer."""
    return [
        ("lite0", one_input(package, "image", "BYTES", given.encoded), given.of_encoded),
        ("lite0:pixels", one_input(package, "pixels", "UINT8", given.pixels), given.of_pixels),
        ("lite0:tensor", one_input(package, "input", "FP32", given.tensor), given.of_tensor),
    ]


def is_refused(call, status, words):
    """`call()` raises an error that has this status and says these words."""
    try:
        call()
    except InferenceServerException as error:
        _has(error, status, words)
        return
    raise AssertionError(f"answered, expected {status}: {words}")


async def is_refused_later(call, status, words):
    """`await call` raises an error that has this status and says these words."""
    try:
        await call
    except InferenceServerException as error:
        _has(error, status, words)
        return
    raise AssertionError(f"answered, expected {status}: {words}")


def _has(error, status, words):
    found = (error.status(), error.message())
    assert found[0] == status and words in found[1], f"{found}, expected {status}: {words}"


def best_classes(found, of_encoded_probabilities):
    """A classification's elements are `value:index:label`: the greatest probabilities, in their order."""
    for texts, expected in zip(found, of_encoded_probabilities, strict=True):
        rows = [text.decode().split(":", 2) for text in texts]
        indices = [int(index) for _, index, _ in rows]
        assert [expected[index] for index in indices] == sorted(expected, reverse=True)[: len(rows)], rows
        assert [value for value, _, _ in rows] == [f"{expected[index]:.6f}" for index in indices], rows
        assert all(label for _, _, label in rows), rows


def has_logits(answer, expected, what):
    """The answer's logits are these, byte for byte."""
    same(answer.as_numpy("logits"), expected, what)
