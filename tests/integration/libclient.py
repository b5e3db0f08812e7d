# SPDX-License-Identifier: MIT
"""libobjmapper as built, by ctypes: what objmapper.h declares, as far as the tests call it."""
import ctypes as c
import errno
import os

import daemon as d
import pytest

NO_RECONNECT, SPLIT_BODIES, RING = 1, 8, 16
AUTO, FD, COPY, SPLICE = range(4)


class Options(c.Structure):
    _fields_ = [("size", c.c_size_t), ("flags", c.c_uint), ("version", c.c_uint), ("timeout_ms", c.c_int),
                ("depth", c.c_uint)]


class Object(c.Structure):
    _fields_ = [("fd", c.c_int), ("not_modified", c.c_int), ("size", c.c_uint64), ("version", c.c_uint64),
                ("mtime", c.c_int64)]


class ReadOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("mode", c.c_int), ("offset", c.c_uint64), ("length", c.c_uint64),
                ("if_version", c.c_uint64)]


class Completion(c.Structure):
    _fields_ = [("user_data", c.c_uint64), ("result", c.c_int), ("object", Object)]


READ_FN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(Object), c.c_uint64, c.POINTER(c.c_char), c.c_size_t)


class Failed(OSError):
    def __init__(self, r):
        super().__init__(-r, errno.errorcode.get(-r, str(r)))


def checked(r):
    if r < 0:
        raise Failed(r)
    return r


def require():
    """Ends the test as skipped where the library cannot be had: in the test's own thread, before it starts others."""
    if d.INSTRUMENTED:
        pytest.skip("an uninstrumented Python cannot load the library")


class Handle:
    def __init__(self, path, flags=0, version=0, timeout_ms=1000 * d.PATIENCE, depth=0):
        require()
        self.lib = c.CDLL(str(d.ROOT / d.BUILD / "libobjmapper.so.0"))
        self.om = c.c_void_p()
        options = Options(c.sizeof(Options), flags, version, timeout_ms, depth)
        checked(self.lib.objmapper_connect(path.encode(), c.byref(options), c.byref(self.om)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.objmapper_free(self.om)

    def get(self, uri):
        """The content, by descriptor."""
        o = Object()
        checked(self.lib.objmapper_get(self.om, uri.encode(), c.byref(o)))
        with os.fdopen(o.fd, "rb") as f:
            return f.read()

    def stat(self, uri):
        o = Object()
        checked(self.lib.objmapper_stat(self.om, uri.encode(), c.byref(o)))
        return o

    def ping(self):
        checked(self.lib.objmapper_ping(self.om))

    def instance(self):
        buf = c.create_string_buffer(16)
        checked(self.lib.objmapper_instance(self.om, buf))
        return buf.raw

    def read(self, uri, mode=COPY, each=None):
        """The content as the library hands it out; each(bytes so far) after every piece."""
        got, failure = bytearray(), []

        def on_piece(_, __, ___, data, n):
            got.extend(data[:n])
            try:
                if each:
                    each(len(got))
            except BaseException as e:  # an exception cannot pass through C
                failure.append(e)
            return len(failure)

        options = ReadOptions(c.sizeof(ReadOptions), mode, 0, 0, 0)
        r = self.lib.objmapper_read_cb(self.om, uri.encode(), READ_FN(on_piece), None, c.byref(options), None)
        if failure:
            raise failure[0]
        checked(r)
        return bytes(got)

    def submit_read(self, uri, buf, user_data, mode=AUTO, offset=0, length=0, if_version=0):
        """Into @buf, of ctypes, which has to stay until it has been reaped."""
        options = ReadOptions(c.sizeof(ReadOptions), mode, offset, length, if_version)
        uri = uri.encode()
        checked(self.lib.objmapper_submit_read(self.om, uri, c.c_size_t(len(uri)), buf, c.c_size_t(len(buf)),
                                               c.byref(options), c.c_uint64(user_data)))

    def flush(self):
        checked(self.lib.objmapper_flush(self.om))

    def wait(self, n=64, timeout_ms=1000 * d.PATIENCE):
        """Some completions."""
        done = (Completion * n)()
        return done[: checked(self.lib.objmapper_wait(self.om, done, c.c_size_t(n), timeout_ms))]

    def in_flight(self):
        self.lib.objmapper_in_flight.restype = c.c_size_t
        return self.lib.objmapper_in_flight(self.om)
