"""The command line's manners: help, exit codes, short messages, nearest names, one JSON object."""

import warnings

import pytest

from slimwave import cli, config
from slimwave.cli import COMMANDS, UsageError, main
from slimwave.commands import Outcome
from slimwave.compression.sap import PruningWarning


def parse(name, *arguments):
    return config.parse(name, COMMANDS[name], list(arguments))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_a_working_example(name, capsys):
    assert main([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        f"usage: slimwave {name}",
        "--config",
        "--json",
        "--seed",
        "--device",
        COMMANDS[name].example,
    ):
        assert part in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_explained_and_every_group_has_a_title(name):
    parser, _ = config.parser_of(name, COMMANDS[name])
    unexplained = [action.dest for action in parser._actions if len((action.help or "").split()) < 2]
    assert not unexplained
    texts = [action.help for action in parser._actions] + [group.title for group in parser.groups.values()]
    assert not [text for text in texts if ":class:" in text or text.startswith(("See ", "As for "))]


def test_flags_that_share_an_entry_show_it_whole(capsys):
    assert main(["prune", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for flag, said in (
        ("--sap.p P", "p, q: Norms of the PQ Index, 0 < p ≤ 1 ≤ q and p < q."),
        ("--fit.warmup WARMUP", "learning_rate, warmup, weight_decay: Peak rate"),
        ("--overwrite {true,false}", "Start anew where the folder already holds a run."),
        ("Settings of `slimwave prune`: rounds of prune, rewind, retrain:", "--model MODEL"),
        ("Sparsity-informed adaptive pruning (Diao et al., ICLR 2023, arXiv 2302.05601):", "--sap CONFIG"),
    ):
        assert f"{flag} {said}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_in_the_help_parse(name):
    import shlex

    words = shlex.split(COMMANDS[name].example)
    assert words[:2] == ["slimwave", name]
    parse(name, *words[2:])


def test_overview_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'"),
        (["train", "--network.widht", "3"], "did you mean 'network.width'"),
        (["train", "--network.conv", "foo"], "--network.conv: expected one of dense, cp, .*, got foo"),
        (["train", "--network.width", "wide"], "--network.width: expected int"),
        (
            ["train", "--network.activation", "tanh"],
            "--network.activation: expected one of none, gelu, got tanh",
        ),
        (["export", "x", "--format", "csv"], "--format: expected pdebench, got csv"),
        (["train", "--network.width", "100000000"], "--network.width: expected at most 10000, got 100000000"),
        (["train", "--network.name", "resnet"], "no network is called 'resnet'; .*available: .*residual_cnn"),
        (["train", "--network.kernel_size", "4"], "expected an odd length .* got 4"),
        (["train", "--network.rank", "0", "--network.conv", "cp"], "--network.rank: .* at least 1, .* got 0"),
        (["train", "--network.rank", "x"], "--network.rank: expected a ratio such as '8x' .* got 'x'"),
        (["train", "--network.width", "0"], "--network.width: .* at least 1, got 0"),
        (["train", "stray"], "unrecognized arguments: stray"),
        (["check"], "missing FOLDER"),
        (["train", "--config", "no/such.yaml"], "--config: expected a readable YAML file, got no/such.yaml"),
        (["train", "--network", "{widht: 3}"], "'network.widht'; did you mean 'network.width'"),
        (["train", "--fit.weight_decay", ".inf"], "--fit.weight_decay: .* at least 0, got inf"),
        (["compare", "--models", "{persistence: x}"], "'persistence' is the name of a baseline"),
        (["compare", "--models", "{a: x, b: y, a: z}"], "--models: expected every key once, got 'a' twice"),
        (["compare", "--models={a: x, a: z}"], "--models: expected every key once, got 'a' twice"),
        (["train", "--fit", "{unroll: [1], steps: 2, steps: 3}"], "--fit: .* once, got 'steps' twice"),
        (["demo", "--seed", "-1"], "--seed: .* at least 0, got -1"),
        (["show", "x", "--seed", "-1"], "--seed: .* at least 0, got -1"),
        (["check", "x", "--device", "cuda"], "--device: expected auto or cpu, got cuda"),
    ],
)
def test_usage_mistakes_end_in_one_to_three_lines_and_exit_2(arguments, said, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert 1 <= len(lines) <= 3
    assert "Traceback" not in captured.err
    import re

    assert re.search(said, captured.err), captured.err


def test_json_writes_what_is_not_finite_as_null(monkeypatch, capsys):
    """A forecast that blew up is still one JSON object that any reader accepts."""
    from slimwave import commands

    outcome = commands.Outcome({"errors": [1.0, float("inf")], "energy": {"last": float("nan")}}, "text")
    monkeypatch.setattr(commands, "check", lambda _: outcome)
    assert main(["check", "x", "--json"]) == 0
    assert capsys.readouterr().out == '{"errors": [1.0, null], "energy": {"last": null}}\n'


def test_config_file_then_overrides(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("seed: 3\nnetwork: {width: 8, depth: 2}\n")
    settings = parse(
        "train", "--config", str(file), "--network.depth=3", "--fit.unroll", "1,2", "--overwrite"
    )
    assert (settings.seed, settings.network.width, settings.network.depth) == (3, 8, 3)
    assert settings.fit.unroll == (1, 2)
    assert settings.overwrite is True
    assert parse("train", "--fit.unroll", "3").fit.unroll == (3,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("network: {widht: 3}", "'network.widht' in .*; did you mean 'network.width'"),
        ("- 1", "expected a mapping of keys .* got list"),
        ("a: [", "is not valid YAML"),
        ("seed: 1\nfit: {steps: 2, steps: 3}", "run.yaml: expected every key once, got 'steps' twice"),
    ],
)
def test_bad_config_files_are_refused(tmp_path, content, said):
    file = tmp_path / "run.yaml"
    file.write_text(content)
    with pytest.raises(UsageError, match=said):
        parse("train", "--config", str(file))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("expected a, got b"), 1, "slimwave: expected a, got b"),
        (OSError(28, "No space left on device"), 1, "No space left"),
        (KeyError("x"), 1, "internal error, KeyError"),
        (KeyboardInterrupt(), 130, "run the same command again"),
    ],
)
def test_failures_have_codes_and_no_traceback(monkeypatch, capsys, error, code, said):
    def fail(*_):
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert main(["train"]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) <= 3


@pytest.mark.parametrize(
    ("arguments", "unroll", "seeds"),
    [
        (["--fit.unroll", "1"], (1,), ()),
        (["--fit.unroll=3", "--seeds", "5"], (3,), (5,)),
        (["--fit.unroll", "1,2", "--seeds=0,1,2"], (1, 2), (0, 1, 2)),
    ],
)
def test_a_single_number_is_a_list_of_one(arguments, unroll, seeds):
    settings = parse("train", *arguments)
    assert (settings.fit.unroll, settings.seeds) == (unroll, seeds)


def test_a_number_where_a_file_should_hold_a_list_is_told(tmp_path):
    (tmp_path / "settings.yaml").write_text("fit: {unroll: 1}\n")
    with pytest.raises(UsageError, match=r"--fit.unroll: expected a list such as \[1\], got 1"):
        parse("train", "--config", str(tmp_path / "settings.yaml"))


@pytest.mark.filterwarnings("default")
def test_a_warning_is_said_in_one_sentence_without_its_place_in_the_source(monkeypatch, capsys):
    def warned(_config):
        warnings.warn("one is kept. Lower beta.", PruningWarning, stacklevel=2)
        warnings.warn("something of torch's", UserWarning, stacklevel=2)
        return Outcome({}, "done")

    monkeypatch.setattr("slimwave.commands.prune", warned)
    with pytest.warns(UserWarning, match="torch's"):
        assert main(["prune"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("done\n", "slimwave: warning: one is kept. Lower beta.\n")
