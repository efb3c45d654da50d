"""The schemas that are published for what deploy/ has.

Kubernetes' own are in kubernetes-validate, of every version. KServe's and KEDA's are not published as files on
PyPI, but as classes made of them: those of the packages kserve (with kubernetes) and cloudcoil-models-keda.
"""

import importlib.util
import re
import sys
import types

import kubernetes.client
import kubernetes.client.models
import kubernetes_validate
from kubernetes.client import Configuration

# The oldest that has everything in the manifests as stable, and the newest whose schemas are known.
KUBERNETES = ["1.31", "1.37"]
SCALARS = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object, "datetime": object}


def of_kubernetes(document):
    """What is wrong with a document of Kubernetes' own kinds."""
    found = []
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            place = ".".join(map(str, error.path))
            found.append(f"Kubernetes {version}: {place or 'the document'}: {error.message}")
        except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError) as error:
            found.append(f"Kubernetes {version}: {error}")
    return found


def of_kserve(document):
    """What is wrong with a document of serving.kserve.io."""
    version = document["apiVersion"].rpartition("/")[2]
    name = version[0].upper() + version[1:] + document["kind"]
    if not hasattr(_kserve_models(), name):
        return [f"KServe has no {document['kind']} in {document['apiVersion']}"]
    return list(_differences(name, document, ""))


def of_keda(document):
    """What is wrong with a ScaledObject."""
    from cloudcoil.models.keda.v1alpha1 import ScaledObject
    from pydantic import ValidationError

    try:
        read = ScaledObject.model_validate(document)
    except ValidationError as error:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    # The classes pass over what they do not know: it is then missing in what they write.
    return list(_missing(document, read.model_dump(mode="json", by_alias=True, exclude_unset=True), ""))


def _missing(given, kept, place):
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(kept, dict) or key not in kept:
                yield f"{place}{key}: the schema has no such field"
            else:
                yield from _missing(value, kept[key], f"{place}{key}.")
    elif isinstance(given, list):
        for index, value in enumerate(given):
            yield from _missing(value, kept[index], f"{place}{index}.")


def _kserve_models():
    """kserve.models, without what kserve itself imports: a web server and its clients."""
    if "kserve" not in sys.modules:
        spec = importlib.util.find_spec("kserve")
        package = types.ModuleType("kserve")
        package.__path__, package.__spec__ = list(spec.submodule_search_locations), spec
        sys.modules["kserve"] = package
    import kserve.models

    return kserve.models


def _differences(kind, value, place):
    """What tells `value` from a `kind` of the classes made of KServe's and Kubernetes' OpenAPI schemas."""
    if listed := re.fullmatch(r"list\[(.*)\]", kind):
        if not isinstance(value, list):
            yield f"{place}: expected a list, found {value!r}"
            return
        for index, item in enumerate(value):
            yield from _differences(listed[1], item, f"{place}[{index}]")
    elif mapped := re.fullmatch(r"dict[\[(]str, (.*)[\])]", kind):
        if not isinstance(value, dict):
            yield f"{place}: expected a mapping, found {value!r}"
            return
        for key, item in value.items():
            yield from _differences(mapped[1], item, f"{place}.{key}")
    elif kind in SCALARS:
        wrong = not isinstance(value, SCALARS[kind]) or (
            kind != "object" and kind != "bool" and isinstance(value, bool)
        )
        if wrong:
            yield f"{place}: expected {kind}, found {value!r}"
    else:
        yield from _fields(kind, value, place)


def _fields(kind, value, place):
    model = getattr(_kserve_models(), kind, None) or getattr(kubernetes.client.models, kind, None)
    if model is None:
        # A quantity, or a number or text, which the classes have as plain values.
        if not isinstance(value, (str, int)):
            yield f"{place}: expected a {kind}, found {value!r}"
        return
    if not isinstance(value, dict):
        yield f"{place}: expected a {kind}, found {value!r}"
        return
    names = {key: name for name, key in model.attribute_map.items()}
    for key, item in value.items():
        if key not in names:
            yield f"{place}.{key}: {kind} has no such field"
        else:
            yield from _differences(model.openapi_types[names[key]], item, f"{place}.{key}")
    try:
        model(local_vars_configuration=Configuration(), **{names[key]: value[key] for key in value if key in names})
    except (ValueError, TypeError) as error:
        # The classes refuse what lacks a required field, or has one out of its range.
        yield f"{place or kind}: {error}"
