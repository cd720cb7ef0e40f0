"""Dies at its start: Tornado took the io_loop argument away in 5.0, old tutorials still pass it."""

import tornado.autoreload
import tornado.ioloop

io_loop = tornado.ioloop.IOLoop.current()
tornado.autoreload.start(io_loop=io_loop)
io_loop.start()
