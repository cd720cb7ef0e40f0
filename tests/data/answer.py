"""A small HTTP server: `answer.py tcp PORT`, `answer.py unix PATH` or `answer.py tls PORT CERTIFICATE`.

Answers 200 with the text of the file `body` while there is one, else 503.
"""
import http.server
import socketserver
import ssl
import sys


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            with open("body", "rb") as file:
                status, body = 200, file.read()
        except FileNotFoundError:
            status, body = 503, b"no body"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def address_string(self):
        return "peer"


class Unix(socketserver.ThreadingUnixStreamServer):
    def get_request(self):
        request, _ = super().get_request()
        return request, ("peer", 0)


how, where = sys.argv[1:3]
if how == "unix":
    server = Unix(where, Answer)
else:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(where)), Answer)
if how == "tls":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
