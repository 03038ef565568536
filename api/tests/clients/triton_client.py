"""`tritonclient` over HTTP and gRPC, on one port: everything it can ask, and every type of tensor."""

import sys

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException


def refused(call, words):
    try:
        call()
    except InferenceServerException as e:
        assert words in str(e), e
    else:
        raise AssertionError(f"{words}: not refused")


def texts(kind, client, binary):
    data = np.array([b"hello everyone", "schöner Tag \U0001f600".encode(), b"shut up you worthless idiot"], dtype=object)
    given = kind.InferInput("text", [3], "BYTES")
    given.set_data_from_numpy(data, **binary)
    wanted = [kind.InferRequestedOutput(n, **binary) for n in ("scores", "encoder")]
    answer = client.infer("chat", [given], outputs=wanted, request_id="r-1", priority=1, timeout=20_000_000)
    scores, encoder = answer.as_numpy("scores"), answer.as_numpy("encoder")
    assert scores.dtype == np.float32 and encoder.dtype == np.uint8, (scores.dtype, encoder.dtype)
    assert scores.shape[0] == 3 and encoder.shape == (3,), (scores.shape, encoder.shape)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert scores[2].max() > 0.8 > 0.5 > scores[0].max(), scores.max(axis=1)
    return scores


def tokens(kind, client, binary, ids):
    ids = np.array(ids, dtype=np.int64)
    mask = (ids != 0).astype(np.int64)
    inputs = []
    for name, values in (("ids", ids), ("mask", mask), ("own", mask)):
        given = kind.InferInput(name, list(values.shape), "INT64")
        given.set_data_from_numpy(values, **binary)
        inputs.append(given)
    wanted = [kind.InferRequestedOutput("logits", **binary)]
    return client.infer("chat-minilm", inputs, outputs=wanted).as_numpy("logits")


def floats(kind, client, model, name, output, shape, binary):
    values = np.random.default_rng(7).random(shape, dtype=np.float32)
    given = kind.InferInput(name, list(shape), "FP32")
    given.set_data_from_numpy(values, **binary)
    answer = client.infer(model, [given], outputs=[kind.InferRequestedOutput(output, **binary)])
    scores = answer.as_numpy(output)
    assert scores.shape[0] == shape[0] and np.isfinite(scores).all()
    return scores


def over_http(address):
    client = http.InferenceServerClient(address, concurrency=4)
    assert client.is_server_live() and client.is_server_ready()
    about = client.get_server_metadata()
    assert about["name"] == "novastream" and "binary_tensor_data" in about["extensions"], about
    index = client.get_model_repository_index()
    here = {m["name"]: m["version"] for m in index if m["state"] == "READY"}
    assert "chat" in here, index
    for name, version in here.items():
        assert client.is_model_ready(name) and client.is_model_ready(name, version)
        card = client.get_model_metadata(name)
        assert card["versions"] == [version] and card["inputs"] and card["outputs"], card
        config = client.get_model_config(name, version)
        assert config["name"] == name and len(config["input"]) == len(card["inputs"])
    assert not client.is_model_ready("nobody") and not client.is_model_ready("chat", "77")
    refused(lambda: client.get_model_metadata("nobody"), "model_unknown")

    plain, binary = {"binary_data": False}, {"binary_data": True}
    first = texts(http, client, binary)
    assert np.allclose(first, texts(http, client, plain), atol=1e-6)
    if "chat-minilm" in here:
        a = tokens(http, client, binary, [[101, 7592, 2315, 102]])
        b = tokens(http, client, plain, [[101, 7592, 2315, 102, 0, 0, 0, 0]])
        assert a.dtype == np.float32 and np.allclose(a, b, atol=1e-6), (a, b)
    if "nsfw-mobilenet-v2" in here:
        shape = (2, 224, 224, 3)
        shares = floats(http, client, "nsfw-mobilenet-v2", "image", "probabilities", shape, binary)
        assert np.allclose(shares.sum(axis=1), 1, atol=1e-4), shares
    if "yamnet" in here:
        floats(http, client, "yamnet", "log_mel", "scores", (1, 96, 64), binary)
        floats(http, client, "yamnet", "log_mel", "scores", (1, 96, 64), plain)

    for how in ("gzip", "deflate"):
        given = http.InferInput("text", [2], "BYTES")
        given.set_data_from_numpy(np.array([b"hello " * 50, b"good game " * 50], dtype=object))
        answer = client.infer(
            "chat", [given], request_compression_algorithm=how, response_compression_algorithm=how
        )
        assert answer.as_numpy("scores").shape[0] == 2, how

    given = http.InferInput("text", [2], "BYTES")
    given.set_data_from_numpy(np.array([b"one", b"two"], dtype=object))
    waiting = [client.async_infer("chat", [given]) for _ in range(16)]
    assert all(w.get_result().as_numpy("scores").shape[0] == 2 for w in waiting)

    wrong = http.InferInput("text", [1], "FP32")
    wrong.set_data_from_numpy(np.zeros(1, dtype=np.float32))
    refused(lambda: client.infer("chat", [wrong]), "tensor_invalid")
    other = http.InferInput("words", [1], "BYTES")
    other.set_data_from_numpy(np.array([b"x"], dtype=object))
    refused(lambda: client.infer("chat", [other]), "tensor_invalid")
    refused(lambda: client.infer("chat", [given], outputs=[http.InferRequestedOutput("x")]), "tensor_invalid")
    refused(lambda: client.infer("nobody", [given]), "model_unknown")

    stats = client.get_inference_statistics("chat")["model_stats"][0]
    assert stats["inference_count"] >= 40 and stats["execution_count"] >= 20, stats
    assert stats["inference_stats"]["compute_infer"]["ns"] > 0, stats
    assert len(client.get_inference_statistics()["model_stats"]) == len(index)

    client.unload_model("chat")
    assert not client.is_model_ready("chat")
    refused(lambda: client.infer("chat", [given]), "model_not_loaded")
    index = {m["name"]: m for m in client.get_model_repository_index()}
    assert index["chat"]["state"] == "UNAVAILABLE", index
    client.load_model("chat")
    assert client.is_model_ready("chat")
    texts(http, client, binary)
    client.close()
    return here


def over_grpc(address, here):
    client = grpc.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready()
    about = client.get_server_metadata()
    assert about.name == "novastream" and "statistics" in about.extensions, about
    index = {m.name: m.version for m in client.get_model_repository_index().models if m.state == "READY"}
    assert index == here, (index, here)
    for name, version in here.items():
        assert client.is_model_ready(name, version)
        card = client.get_model_metadata(name)
        assert list(card.versions) == [version] and card.inputs and card.outputs, card
        config = client.get_model_config(name).config
        assert config.name == name and len(config.input) == len(card.inputs), config
        assert config.parameters["labels"].string_value, config
    refused(lambda: client.get_model_metadata("nobody"), "model_unknown")

    texts(grpc, client, {})
    if "chat-minilm" in here:
        assert tokens(grpc, client, {}, [[101, 7592, 102], [101, 2204, 102]]).shape[0] == 2
    if "nsfw-mobilenet-v2" in here:
        floats(grpc, client, "nsfw-mobilenet-v2", "image", "features", (1, 224, 224, 3), {})
    if "yamnet" in here:
        floats(grpc, client, "yamnet", "log_mel", "embeddings", (2, 96, 64), {})
    given = grpc.InferInput("text", [1], "BYTES")
    given.set_data_from_numpy(np.array([b"hello " * 50], dtype=object))
    for how in ("gzip", "deflate"):
        answer = client.infer("chat", [given], compression_algorithm=how, client_timeout=20)
        assert answer.as_numpy("encoder").shape == (1,), how
    wrong = grpc.InferInput("text", [1], "INT64")
    wrong.set_data_from_numpy(np.zeros(1, dtype=np.int64))
    refused(lambda: client.infer("chat", [wrong]), "tensor_invalid")

    stats = client.get_inference_statistics("chat").model_stats[0]
    assert stats.inference_count > 0 and stats.inference_stats.compute_infer.ns > 0, stats
    assert len(client.get_inference_statistics().model_stats) == len(here)
    client.unload_model("chat")
    assert not client.is_model_ready("chat")
    refused(lambda: client.infer("chat", [given]), "model_not_loaded")
    client.load_model("chat")
    assert client.is_model_ready("chat")
    client.close()


models = over_http(sys.argv[1])
over_grpc(sys.argv[1], models)
print(models)
