"""Takes the service's webhooks: each message once, and only what is signed with the secret.

GRADCAM_WEBHOOK_SECRET=whsec_... uvicorn --app-dir examples webhook_receiver:app --port 9001
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.concurrency import run_in_threadpool

WEBHOOK = Webhook(os.environ["GRADCAM_WEBHOOK_SECRET"])
DATABASE = os.environ.get("DATABASE", "webhooks.sqlite")

app = FastAPI()


@app.post("/ended", status_code=204)
async def ended(request: Request) -> None:
    """A 2xx answer says that the message is kept; after any other it is sent again."""
    body = await request.body()  # as it came: other spaces would be another signature
    try:
        message = WEBHOOK.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError) as error:
        raise HTTPException(400, "the signature does not hold, or is too old") from error
    await run_in_threadpool(take_once, request.headers["webhook-id"], message)


def take_once(id_: str, message: dict[str, Any]) -> None:
    """One transaction: the id and what is done about it are kept both, or neither is."""
    database = sqlite3.connect(DATABASE)
    try:
        with database:
            database.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")
            database.execute("CREATE TABLE IF NOT EXISTS jobs (id TEXT, status TEXT)")
            new = database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (id_,)).rowcount
            if new and message["type"] == "job.ended":
                job = message["data"]
                database.execute("INSERT INTO jobs VALUES (?, ?)", (job["id"], job["status"]))
    finally:
        database.close()
