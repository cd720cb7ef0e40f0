"""An ASGI app: 200 for all paths, 201 for a POST, 500 for /boom."""


async def app(scope, receive, send):
    assert scope["type"] == "http"
    status = 500 if scope["path"] == "/boom" else 201 if scope["method"] == "POST" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
