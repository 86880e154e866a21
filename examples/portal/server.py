"""A portal's server: its pages, and view tokens for them. The API key never leaves it.

GRADCAM_API_KEY=... python examples/portal/server.py
"""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

SERVICE = os.environ.get("GRADCAM_URL", "http://localhost:8000")
KEY = os.environ["GRADCAM_API_KEY"]
PORT = int(os.environ.get("PORT", "9000"))
SHOWN = {
    "experiment": "optA_20260115_090000/experiments/experiment_synthetic_lifecycle",
    "model": "cls_mobilenet_v3_small_focal",
    "image": "crops_gt_crops/crops/test/ring/cell_001.jpg",
}

app = FastAPI()


@app.post("/view")
def view() -> dict[str, object]:
    """What to show, and a token for it. Here a portal asks first who is signed in."""
    answer = httpx.post(
        f"{SERVICE}/v1/view-tokens",
        json={**SHOWN, "seconds": 600},
        headers={"X-API-Key": KEY},
        timeout=30,
    ).raise_for_status()
    return {"service": SERVICE, "shown": SHOWN, "given": answer.json()}


app.mount("/", StaticFiles(directory=Path(__file__).parent / "pages", html=True))

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT)
