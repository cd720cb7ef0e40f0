"""A Tornado app on a socket it was handed. Tornado accepts until nobody waits, so the socket must not block."""

import asyncio
import signal
import socket

import tornado.httpserver
import tornado.web


class MainHandler(tornado.web.RequestHandler):
    def get(self):
        self.write("hello")


async def main():
    listener = socket.socket(fileno=3)
    listener.setblocking(False)
    server = tornado.httpserver.HTTPServer(tornado.web.Application([(r"/", MainHandler)]))
    server.add_sockets([listener])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.stop()
    await server.close_all_connections()


asyncio.run(main())
