"""Where a keeper is found."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from deployd.processes import keeping
from deployd.processes.keeping import Place


class PlaceTests(SynchronousTestCase):
    def directory(self, length: int) -> Path:
        top = Path(tempfile.mkdtemp())
        path = top.joinpath(*["x" * 40] * (length // 41 + 1))
        path.mkdir(parents=True)
        return path

    def test_a_socket_can_be_made_and_reached_however_long_its_path_is(self) -> None:
        for length in (1, 60, 100, 200, 400):
            directory = self.directory(length)
            with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
                listener.bind(Place(directory).socket)
                listener.listen()
                client.connect(Place(directory).socket)
            self.assertTrue((directory / "keeper.sock").is_socket())

    def test_a_link_to_a_long_path_leads_there_and_is_the_same_each_time(self) -> None:
        directory = self.directory(200)
        link = keeping._link(directory)
        self.assertEqual((link.resolve(), keeping._link(directory)), (directory.resolve(), link))
        self.assertEqual(link.parent.stat().st_mode & 0o777, 0o700)
        self.assertLess(len(os.fsencode(link)), 80)

    def test_a_link_in_a_directory_that_others_may_change_is_not_trusted(self) -> None:
        top = tempfile.mkdtemp()
        self.patch(tempfile, "tempdir", top)
        directory = self.directory(200)
        keeping._link(directory).parent.chmod(0o777)
        self.assertRaises(PermissionError, keeping._link, directory)

    def test_one_process_holds_it(self) -> None:
        directory = self.directory(1)
        self.assertTrue(Place(directory).hold())
        self.assertFalse(Place(directory).hold())

    def test_the_socket_that_a_dead_keeper_has_left_goes_and_that_of_a_living_one_stays(self) -> None:
        directory = self.directory(1)
        left = directory / "keeper.sock"
        left.touch()
        self.assertTrue(Place(directory).hold())
        self.assertFalse(left.exists())
        left.touch()
        self.assertFalse(Place(directory).hold())
        self.assertTrue(left.exists())
