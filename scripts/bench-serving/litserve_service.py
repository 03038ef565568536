"""The same with LitServe and its dynamic batches: one worker a thread, one thread a worker.

Usage: litserve_service.py GRAPH PORT THREADS text|image
"""

import sys

import litserve as ls
import numpy as np
import onnxruntime
from starlette.requests import Request

GRAPH, PORT, THREADS, KIND = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


class Service(ls.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])

    async def decode_request(self, request: Request):
        if KIND == "text":
            return np.array((await request.json())["ids"][0], dtype=np.int64)
        return np.frombuffer(await request.body(), dtype=np.float32).reshape(224, 224, 3)

    def batch(self, inputs):
        if KIND == "image":
            return np.stack(inputs)
        ids = np.zeros((len(inputs), max(len(i) for i in inputs)), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(inputs):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return ids, mask

    def predict(self, batch):
        if KIND == "image":
            return self.session.run(["probabilities"], {"image": batch})[0]
        ids, mask = batch
        return self.session.run(["logits"], {"ids": ids, "mask": mask, "own": mask})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"output": output.tolist()}


if __name__ == "__main__":
    server = ls.LitServer(
        Service(max_batch_size=16 if KIND == "text" else 8, batch_timeout=0.002),
        accelerator="cpu",
        workers_per_device=THREADS,
    )
    server.run(host="127.0.0.1", port=PORT, log_level="error", generate_client_file=False)
