"""The service that a Python team would write: FastAPI, uvicorn, one onnxruntime session.

Usage: fastapi_service.py GRAPH PORT THREADS
"""

import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

graph, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
app = FastAPI()


class Tokens(BaseModel):
    ids: list[list[int]]


@app.get("/ready")
def ready():
    return {}


# A plain function: FastAPI runs it in its pool of threads, so requests overlap.
@app.post("/text")
def text(tokens: Tokens):
    ids = np.array(tokens.ids, dtype=np.int64)
    mask = np.ones_like(ids)
    (logits,) = session.run(["logits"], {"ids": ids, "mask": mask, "own": mask})
    return {"logits": logits.tolist()}


@app.post("/image")
async def image(request: Request):
    pixels = np.frombuffer(await request.body(), dtype=np.float32).reshape(-1, 224, 224, 3)
    (shares,) = await run_in_threadpool(session.run, ["probabilities"], {"image": pixels})
    return {"probabilities": shares.tolist()}


uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")
