"""The same with LitServe and its dynamic batches: one worker a thread, one thread a worker. Text only:
LitServe reads bodies as JSON or forms, and pixels as either would measure the parsing.

Usage: litserve_service.py GRAPH PORT THREADS
"""

import sys

import litserve as ls
import numpy as np
import onnxruntime

GRAPH, PORT, THREADS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Service(ls.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        return np.array(request["ids"][0], dtype=np.int64)

    def batch(self, inputs):
        ids = np.zeros((len(inputs), max(len(i) for i in inputs)), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(inputs):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return ids, mask

    def predict(self, batch):
        ids, mask = batch
        return self.session.run(["logits"], {"ids": ids, "mask": mask, "own": mask})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"output": output.tolist()}


if __name__ == "__main__":
    server = ls.LitServer(
        Service(max_batch_size=16, batch_timeout=0.002),
        accelerator="cpu",
        workers_per_device=THREADS,
    )
    server.run(host="127.0.0.1", port=PORT, log_level="error", generate_client_file=False)
