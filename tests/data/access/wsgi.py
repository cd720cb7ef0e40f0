"""A WSGI app: 200 for all paths, 201 for a POST, 500 for /boom."""


def app(environ, start_response):
    words = "500 Oops" if environ["PATH_INFO"] == "/boom" else "201 Made" if environ["REQUEST_METHOD"] == "POST" else "200 OK"
    start_response(words, [("Content-Length", "0")])
    return [b""]
