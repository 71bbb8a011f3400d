"""The bare limit of this kind of server: FastAPI, onnxruntime and orjson; nothing is checked,
nothing is logged.

    SCORER=FOLDER uvicorn benchmarks.bare_limit:app --no-access-log
"""

import os

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

from serving.scorer import PortableScorer

scorer = PortableScorer.load(os.environ["SCORER"])
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> Response:
    """Score columns or one row."""
    content = orjson.loads(await request.body())
    values = [content[name] for name in scorer.names]
    matrix = np.array(values, dtype=np.float64).reshape(len(values), -1).T
    scores = scorer.score_matrix(np.ascontiguousarray(matrix)).tolist()
    return Response(orjson.dumps({"scores": scores}), media_type="application/json")
