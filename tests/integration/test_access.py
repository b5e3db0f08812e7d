# SPDX-License-Identifier: MIT
"""Who gets objects and who may ask for control operations, tried as other users; see also test_refuse.py."""
import ctypes
import json
import os
import subprocess

import omclient
import omproto as p
import pytest
from daemon import wait_until
from test_control import stats

NOBODY, SOMEBODY, FRIENDS = 65534, 12345, 23456
CONTROL = (p.STATS, p.RELOAD, p.DRAIN)
IN_NAMESPACE = ["unshare", "--user", "--map-root-user"]
HAS_NAMESPACES = subprocess.run([*IN_NAMESPACE, "true"], capture_output=True).returncode == 0

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="becomes other users")
needs_namespaces = pytest.mark.skipif(not HAS_NAMESPACES, reason="user namespaces are not allowed here")


def as_user(what, uid, gid=None, groups=(), before=lambda: None):
    """What what() returns in a process of that user, as JSON can carry it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(list(groups))
            os.setresgid(*[uid if gid is None else gid] * 3)
            os.setresuid(uid, uid, uid)
            before()
            os.write(writer, json.dumps(what()).encode())
            os._exit(0)
        finally:
            os._exit(99)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return json.loads(said)


def control_statuses(path):
    def ask():
        with omclient.V3(path) as c:
            return [c.control(op).status for op in CONTROL]

    return ask


def object_statuses(path, prefixes):
    """For each prefix, of an object that is there and of one that is not, in both versions and all that they have."""

    def status(r):
        r.close()
        return r.status

    def ask():
        found = []
        with omclient.V1(path) as one, omclient.V3(path) as three:
            for prefix in prefixes:
                for name in ("a.txt", "none"):
                    uri = prefix + name
                    found += [status(one.get(uri, m)) for m in (p.FD, p.COPY, p.SPLICE)]
                    found += [status(three.get(uri, m)) for m in (p.FD, p.COPY, p.SPLICE, p.AUTO)]
                    found.append(three.stat(uri).status)
        return found

    return ask


EACH = 8  # requests for each name
THERE, DENIED = [p.OK] * EACH + [p.NOT_FOUND] * EACH, [p.DENIED] * 2 * EACH


@pytest.fixture
def daemon(start, tree):
    """Everybody can connect; /open/ is for all, the others for their lists."""
    lists = {"open": "", "uid": f"allow_uids = [ {SOMEBODY} ];", "gid": f"allow_gids = [ {FRIENDS} ];",
             "nogroup": f"allow_gids = [ {NOBODY} ];", "root": "allow_uids = [ 0 ];"}
    each = ", ".join(f'{{ prefix = "/{name}/"; path = "{tree.path}"; {text} }}' for name, text in lists.items())
    daemon = start(config=f"exports = ( {each} );\ncontrol = {{ admin_gids = [ {FRIENDS} ]; }};\n")
    os.chmod(daemon.socket, 0o666)
    return daemon


def test_somebody(daemon):
    found = as_user(object_statuses(daemon.socket, ["/open/", "/uid/", "/gid/", "/root/"]), SOMEBODY)
    assert found == THERE + THERE + DENIED + DENIED
    assert as_user(control_statuses(daemon.socket), SOMEBODY) == [p.DENIED] * 3
    assert stats(daemon)["denied"] == 4 * EACH + 3
    assert "denied" in daemon.log()


def test_nobody_is_on_no_list_by_a_group(daemon):
    """Any user of another namespace may be behind that number."""
    for kw in ({}, {"gid": FRIENDS}, {"groups": [FRIENDS, NOBODY]}):
        found = as_user(object_statuses(daemon.socket, ["/open/", "/uid/", "/gid/", "/nogroup/"]), NOBODY, **kw)
        assert found == THERE + DENIED * 3
        assert as_user(control_statuses(daemon.socket), NOBODY, **kw) == [p.DENIED] * 3


def test_nobody_who_is_named_is_let_in(start, tree):
    daemon = start(config=f'exports = ( {{ prefix = "/"; path = "{tree.path}"; allow_uids = [ "nobody" ]; }} );\n')
    os.chmod(daemon.socket, 0o666)
    assert as_user(object_statuses(daemon.socket, ["/"]), NOBODY) == THERE


@pytest.mark.parametrize("kw", [{"gid": FRIENDS}, {"groups": [1, FRIENDS]}], ids=["primary", "supplementary"])
def test_administrators_by_group(daemon, kw):
    daemon.config.write_text("nonsense")
    with omclient.V3(daemon.socket) as c:
        assert c.control(p.RELOAD).status == p.INVALID
    statuses = as_user(control_statuses(daemon.socket), SOMEBODY, **kw)
    assert statuses == [p.OK, p.INVALID, p.OK]
    assert daemon.exit_status() == 0


CAP_DAC_OVERRIDE, CAP_SYS_ADMIN = 1, 21
ALL, WHOLE = (1 << 64) - 1, 1 << CAP_DAC_OVERRIDE | 1 << CAP_SYS_ADMIN


def keep_capabilities(mask):
    """Of those that it has, this process keeps these; it stays user 0."""
    libc, header, data = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    for i in range(6):
        data[i] &= mask >> 32 * (i // 3) & 0xFFFFFFFF
    assert libc.capset(header, data) == 0


def drop_capabilities():
    keep_capabilities(0)
    assert open("/proc/self/status").read().split("CapEff:\t")[1].split("\n")[0].strip("0") == ""


def test_root_without_capabilities(daemon):
    """What counts for objects is the user; for control operations it takes more than the number."""
    found = as_user(object_statuses(daemon.socket, ["/open/", "/uid/", "/root/"]), 0, before=drop_capabilities)
    assert found == THERE + DENIED + THERE
    assert as_user(control_statuses(daemon.socket), 0, before=drop_capabilities) == [p.DENIED] * 3
    assert stats(daemon)["draining"] is False


def test_root_who_drops_them_when_connected(daemon):
    def ask():
        with omclient.V3(daemon.socket) as c:
            before = c.control(p.STATS).status
            drop_capabilities()
            return [before] + [c.control(op).status for op in CONTROL]

    assert as_user(ask, 0) == [p.OK] + [p.DENIED] * 3


def test_root_whose_process_has_ended(daemon):
    """Whoever has the connection now is not the one whom the kernel knows."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            c, parent = omclient.V3(daemon.socket), os.getpid()
            if os.fork() == 0:
                wait_until(lambda: os.getppid() != parent)
                os.write(writer, json.dumps([c.control(op).status for op in CONTROL]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader, "rb") as file:
        assert json.loads(file.read()) == [p.DENIED] * 3


@pytest.mark.parametrize("mask, may", [(ALL, True), (WHOLE, True), (ALL & ~(1 << CAP_SYS_ADMIN), False),
                                       (ALL & ~(1 << CAP_DAC_OVERRIDE), False), (0, False)],
                         ids=["all", "both", "no administration", "no overriding", "none"])
def test_root_beside_a_daemon_of_another_user(start, tree, mask, may):
    daemon = start({"/": tree.path}, uid=SOMEBODY)
    os.chmod(daemon.socket, 0o666)
    daemon.config.write_text("nonsense")
    expected = [p.OK, p.INVALID, p.OK] if may else [p.DENIED] * 3
    assert as_user(control_statuses(daemon.socket), 0, before=lambda: keep_capabilities(mask)) == expected
    assert may or as_user(control_statuses(daemon.socket), SOMEBODY) == [p.OK, p.INVALID, p.OK]
    assert daemon.exit_status() == 0


def test_mode_of_the_socket(start, tree):
    daemon = start({"/": tree.path})
    os.chmod(daemon.socket, 0o660)

    def connect():
        try:
            omclient.V3(daemon.socket).close()
            return True
        except PermissionError:
            return False

    assert as_user(connect, 0) is True
    assert as_user(connect, SOMEBODY) is False
    assert as_user(connect, SOMEBODY, groups=[os.stat(daemon.socket).st_gid]) is True


def enter_namespace():
    """A user namespace in which this user is root."""
    uid, gid, libc = os.getuid(), os.getgid(), ctypes.CDLL(None)
    assert libc.prctl(4, 1, 0, 0, 0) == 0, "PR_SET_DUMPABLE, else /proc/self is root's after the change of user"
    assert libc.unshare(0x10000000) == 0
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    assert os.getuid() == 0


@needs_namespaces
def test_root_of_a_user_namespace_is_who_he_is_outside(daemon):
    def ask():
        enter_namespace()
        return [control_statuses(daemon.socket)(),
                object_statuses(daemon.socket, ["/open/", "/uid/", "/root/"])()]

    statuses, found = as_user(ask, SOMEBODY)
    assert statuses == [p.DENIED] * 3 and found == THERE + THERE + DENIED


@needs_namespaces
@pytest.mark.parametrize("when", ["before", "connected"])
@pytest.mark.parametrize("mask", [0, ALL & ~(1 << CAP_SYS_ADMIN)], ids=["none", "all but one"])
def test_root_in_a_user_namespace_of_his_own(daemon, when, mask):
    """He has all capabilities there, and his number outside; what counts is what he may do here. Without any he may not
    even be root there."""
    def enter():
        keep_capabilities(mask)
        if mask:
            enter_namespace()
        else:
            assert ctypes.CDLL(None).unshare(0x10000000) == 0

    def ask():
        if when == "before":
            enter()
        with omclient.V3(daemon.socket) as c:
            if when == "connected":
                enter()
            return [c.control(op).status for op in CONTROL]

    assert as_user(ask, 0) == [p.DENIED] * 3
    assert stats(daemon)["draining"] is False


@needs_namespaces
def test_daemon_in_a_user_namespace_lets_in_only_whom_it_knows(start, tree):
    """All others look like nobody to it, also if its lists have their numbers, or nobody's group."""
    lists = ("", f"allow_uids = [ {SOMEBODY} ];", f"allow_gids = [ {NOBODY}, {FRIENDS} ];", "allow_uids = [ 0 ];")
    each = ", ".join(f'{{ prefix = "/{i}/"; path = "{tree.path}"; {text} }}' for i, text in enumerate(lists))
    daemon = start(config=f"exports = ( {each} );\ncontrol = {{ admin_gids = [ {NOBODY}, {FRIENDS} ]; }};\n",
                   through=IN_NAMESPACE)
    os.chmod(daemon.socket, 0o666)
    prefixes = [f"/{i}/" for i in range(len(lists))]
    assert object_statuses(daemon.socket, prefixes)() == THERE + DENIED * 2 + THERE
    assert stats(daemon)["draining"] is False
    for kw in ({}, {"gid": FRIENDS}, {"groups": [FRIENDS]}):
        assert as_user(object_statuses(daemon.socket, prefixes), SOMEBODY, **kw) == THERE + DENIED * 3
        assert as_user(control_statuses(daemon.socket), SOMEBODY, **kw) == [p.DENIED] * 3


def test_lists_that_come_with_a_reload_hold_for_who_is_connected(start, tree):
    """Its supplementary groups, which nobody has asked for before, are those that it connected with."""
    text = f'exports = ( {{ prefix = "/"; path = "{tree.path}"; %s }} );\n'
    daemon = start(config=text % "")
    os.chmod(daemon.socket, 0o666)

    def ask():
        with omclient.V3(daemon.socket) as c:
            first = c.get("/a.txt")
            first.close()
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            second, third = c.get("/a.txt"), c.control(p.STATS)
            second.close()
            return [first.status, second.status, third.status]

    def change():
        os.read(ready[0], 1)
        daemon.config.write_text(text % f"allow_gids = [ {FRIENDS} ];"
                                 + f"control = {{ admin_gids = [ {FRIENDS} ]; }};\n")
        with omclient.V3(daemon.socket) as c:
            assert c.control(p.RELOAD).status == p.OK
        os.write(go[1], b"x")

    for groups, status in (([FRIENDS], p.OK), ([1], p.DENIED)):
        ready, go = os.pipe(), os.pipe()
        helper = os.fork()
        if helper == 0:
            try:
                change()
                os._exit(0)
            finally:
                os._exit(99)
        assert as_user(ask, SOMEBODY, groups=groups) == [p.OK, status, status]
        assert os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1]) == 0
        for fd in ready + go:
            os.close(fd)
        daemon.config.write_text(text % "")
        with omclient.V3(daemon.socket) as c:
            assert c.control(p.RELOAD).status == p.OK


def test_no_control_over_tcp(start, tree):
    daemon = start({"/": tree.path}, tcp="127.0.0.1")
    with daemon.connect(3) as c:
        for op in CONTROL:
            r = c.control(op)
            assert (r.status, r.body_len, r.fd) == (p.DENIED, 0, -1)
        c.ping()
    wait_until(lambda: "control operation" in daemon.log())
