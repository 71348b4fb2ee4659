"""Looking at the machine whose address is typed: in a thread of its own, with the engine's words."""

import platform

import pytest
from deploykit_widgets.answers import Later
from deploykit_widgets.sections.space import SpaceSection
from deploykit_widgets.space import options

from deploykit.core.errors import EngineError, SettingError
from deploykit.testing.sshd import SshServer


@pytest.mark.alone
@pytest.mark.sshd
def test_the_state_of_a_machine_is_asked_for_beside_the_desk(commands, ask, tmp_path):
    section = SpaceSection(commands)
    (engine,) = (c for c in section.value()["options"]["controls"] if c["name"] == "engine")
    assert engine["address"]
    with SshServer(tmp_path) as server:
        assert isinstance(section.commands()["look_at"](name="engine", value=server.engine), Later)
        said, _ = ask(section, "look_at", name="engine", value=f" {server.engine} ")
        assert said.startswith(f"127.0.0.1 answers: {platform.system()}")
        server.known_hosts.unlink()
        with pytest.raises(EngineError, match="not among your known hosts") as caught:
            ask(section, "look_at", name="engine", value=server.engine)
        assert f"ssh -p {server.port} 127.0.0.1" in caught.value.remedy
        server.learn(server.folder / "id.pub")
        with pytest.raises(EngineError, match="has changed: the machine was set up again"):
            ask(section, "look_at", name="engine", value=server.engine)
    assert "engine" not in commands.state.options  # what is looked at is not chosen by that


@pytest.mark.parametrize("value", ["local", "ssh://", "what://ever", ""])
def test_what_is_no_machine_has_no_state(value):
    assert options.look_at("engine", value) == ""


def test_options_without_addresses_are_refused():
    with pytest.raises(SettingError, match="engine"):
        options.look_at("launches", "ssh://board")
