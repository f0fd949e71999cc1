"""docs/several-machines.md and the examples for Slurm and Kubernetes say what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from povwatch.bridge.ray_here import HEAD_PORT, PORTS
from povwatch.cli.app import VERBS
from povwatch.config.settings import Config, Pool

ROOT = Path(__file__).parents[2]

PAGE = ROOT / "docs/several-machines.md"


@pytest.fixture(scope="module")
def manifest():
    """The parts of the manifest for KubeRay, by their kind."""
    yaml = pytest.importorskip("yaml", reason="it comes with Ray: script/bootstrap --dev")
    parts = list(yaml.safe_load_all((ROOT / "examples/kuberay/pool.yaml").read_text()))
    found = {(part["kind"], part["metadata"]["name"]): part for part in parts}
    assert len(found) == len(parts)
    return found


def pods(manifest):
    spec = manifest["RayCluster", "povwatch-pool"]["spec"]
    return [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]


def test_page_has_every_port():
    text = PAGE.read_text()
    numbers = {HEAD_PORT, *PORTS.values()}
    for low, high in [(6379, 6379), (6380, 6381), (6382, 6385), (10002, 10999)]:
        assert str(low) in text
        assert str(high) in text
        numbers = {port for port in numbers if not low <= port <= high}
    assert numbers == set()
    assert "6379:6385,10002:10999" in text


def test_page_names_settings_that_exist():
    named = set(re.findall(r"`pool\.(\w+)", PAGE.read_text())) - {"token", "sock"}
    assert named <= set(Pool.model_fields)
    assert len(named) >= 3
    text = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    assert Config(**tomllib.loads(text)).pool.kind == "ray"


def test_manifest_has_a_valid_config_toml(manifest):
    config = Config(**tomllib.loads(manifest["ConfigMap", "povwatch"]["data"]["config.toml"]))
    assert (config.pool.kind, config.engine.workers) == ("ray", 0)
    (group,) = manifest["RayCluster", "povwatch-pool"]["spec"]["workerGroupSpecs"]
    assert group["maxReplicas"] == config.pool.max
    assert (str(config.paths.state), str(config.paths.outputs)) == ("/state", "/data/outputs")


def test_manifest_runs_what_there_is(manifest):
    """Its commands are verbs of the entry point that pyproject.toml installs, and its Ray is the locked one."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    commands = [one["command"] for pod in pods(manifest) for one in pod["spec"]["containers"] if "command" in one]
    assert [words[-1] for words in commands] == ["run", "pool"]
    for words in commands:
        assert Path(words[0]).name in scripts
        assert words[-1] in VERBS
    locked = re.search(r"^ray==(\S+)", (ROOT / "requirements/pool.lock").read_text(), re.MULTILINE)[1]
    assert manifest["RayCluster", "povwatch-pool"]["spec"]["rayVersion"] == locked


def test_manifest_has_what_it_mounts(manifest):
    for pod in pods(manifest):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        mounted = {mount["name"] for one in pod["spec"]["containers"] for mount in one["volumeMounts"]}
        assert mounted == set(volumes)
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in manifest
            if made := volume.get("configMap"):
                assert ("ConfigMap", made["name"]) in manifest


def test_every_ray_has_the_token(manifest):
    """Each container that runs Ray or speaks with it, and nobody but the pool's own pods reaches it."""
    spec = manifest["RayCluster", "povwatch-pool"]["spec"]
    speaking = [one for pod in pods(manifest) for one in pod["spec"]["containers"] if one["name"] != "daemon"]
    for one in [*speaking, spec["autoscalerOptions"]]:
        variables = {variable["name"]: variable for variable in one["env"]}
        assert variables["RAY_AUTH_MODE"]["value"] == "token"
        assert variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "povwatch-token", "key": "token"}
    policy = manifest["NetworkPolicy", "povwatch-pool"]["spec"]
    labels = policy["podSelector"]["matchLabels"]
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": labels}}]}]
    assert all(pod["metadata"]["labels"] == labels for pod in pods(manifest))


def test_sbatch_calls_what_there_is():
    """The script and its options exist."""
    text = (ROOT / "examples/slurm/pool.sbatch").read_text()
    script = (ROOT / "script/pool-node").read_text()
    assert "script/pool-node" in text
    given = set(re.findall(r" (--(?:engine|token|gpus)) ", text))
    assert given == {"--engine", "--token", "--gpus"}
    assert all(f"{option} " in script for option in given)
