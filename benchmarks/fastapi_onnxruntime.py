"""Minimal server as an upper bound: FastAPI, onnxruntime and orjson, without checks or log.

SCORER=FOLDER uvicorn benchmarks.fastapi_onnxruntime:app --no-access-log
"""

import os

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

from serving.model.scorer import PortableScorer

scorer = PortableScorer.load(os.environ["SCORER"])
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> Response:
    """Return the score of each row; the body holds a list of values, or one value, per column."""
    content = orjson.loads(await request.body())
    values = [content[name] for name in scorer.names]
    matrix = np.array(values, dtype=np.float64).reshape(len(values), -1).T
    scores = scorer.score_matrix(np.ascontiguousarray(matrix)).tolist()
    return Response(orjson.dumps({"scores": scores}), media_type="application/json")
