"""States that travel: small files, replaced as a whole, and training that goes on from them."""

from pathlib import Path

import pytest
import torch
from tests.unit.tools.test_training_data import pack
from tools.pocket import video_state
from tools.pocket.video_data import ClipSource
from tools.pocket.video_flow import (
    COURSES,
    FlowPlan,
    FlowTrainer,
    Models,
    inner_matrices,
    shares_at,
)
from tools.pocket.video_models import TINY, build_text_encoder, build_transformer, build_vae
from tools.pocket.video_pool import Kind
from tools.pocket.video_state import indexed, is_saved, load_parts, restore, save_parts
from tools.pocket.video_vae import VaePlan, tune_decoder
from tools.pocket.video_warm import RandomPool

CPU = torch.device("cpu")
VOCABULARY = 64


def trainer(seed: int) -> FlowTrainer:
    models = Models(
        transformer=build_transformer(TINY), text_encoder=build_text_encoder(TINY, VOCABULARY)
    )
    plan = FlowPlan(divisor=1000, seed=seed, device=CPU, compiled=False)
    return FlowTrainer(models, RandomPool(VOCABULARY, CPU), plan)


def test_tensors_come_back_from_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_state, "PART_BYTES", 1000)
    tensors = [torch.full((300,), float(index)) for index in range(5)]
    folder = tmp_path / "state"
    assert not is_saved(folder)
    save_parts(folder, indexed("one", [torch.zeros(300)] * 5), {"step": "1"})
    save_parts(folder, indexed("one", tensors), {"step": "2"})
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert len(sizes) == 5
    saved, facts = load_parts(folder)
    found = [torch.empty(300) for _ in tensors]
    restore("one", found, saved)
    assert is_saved(folder)
    assert facts == {"step": "2"}
    assert all(torch.equal(*pair) for pair in zip(found, tensors, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_flow_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    first, second = trainer(1), trainer(2)
    first.run(0.01, 100.0, lambda label: None)
    first.save(tmp_path / "flow")
    second.load(tmp_path / "flow")
    one, other = first.average.transformer, second.average.transformer
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    assert all(torch.allclose(*pair, atol=1e-3) for pair in pairs)
    assert second._step == first._step > 0
    assert second._used == pytest.approx(0.01)


def test_all_weights_but_those_of_words_are_trained() -> None:
    made = trainer(3)
    transformer = made._models.transformer
    hints = inner_matrices(transformer.vace_blocks)
    words = transformer.condition_embedder.text_embedder
    matrices = [*inner_matrices([*transformer.blocks, words]), *hints]
    owners = [*made._optimiser.param_groups[0]["params"], *matrices]
    assert {id(weight) for weight in owners} == {id(weight) for weight in transformer.parameters()}
    assert len(owners) == len(list(transformer.parameters()))
    text = [weight.detach().clone() for weight in made._models.text_encoder.parameters()]
    before = [weight.detach().clone() for weight in matrices]
    made._train_step(next(row for row in COURSES if row.kind is Kind.PINNED), 0.0)
    moved = [not torch.equal(*pair) for pair in zip(before, matrices, strict=True)]
    # Hints start at zero, so what lies before them has no gradient in the first step.
    assert sum(moved) > len(moved) // 2
    now = made._models.text_encoder.parameters()
    assert all(torch.equal(*pair) for pair in zip(text, now, strict=True))
    kept = [weight.detach().clone() for weight in hints]
    made._train_step(next(row for row in COURSES if row.kind is Kind.TEXT), 0.0)
    assert all(torch.equal(*pair) for pair in zip(kept, hints, strict=True))


def test_stills_come_first_and_clips_later() -> None:
    early, late = shares_at(0.0), shares_at(0.9)
    stills = [index for index, course in enumerate(COURSES) if course.kind is Kind.STILL]
    assert sum(early) == pytest.approx(1.0)
    assert sum(late) == pytest.approx(1.0)
    assert sum(early[index] for index in stills) > 0.5
    assert sum(late[index] for index in stills) < 0.1


def test_a_vae_goes_on_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.pocket.video_vae._SAVE_EVERY_S", 0.0)
    source = ClipSource(pack(), CPU, 3)
    plan = VaePlan(seconds=0.01, divisor=64, seed=1, device=CPU, progress=tmp_path / "vae")
    tune_decoder(build_vae(TINY), source, plan)
    saved, facts = load_parts(tmp_path / "vae")
    assert float(facts["used"]) > 0
    again = tune_decoder(build_vae(TINY), source, VaePlan(**{**vars(plan), "seconds": 0.0}))
    assert "goes on" in capsys.readouterr().out
    means = [saved[f"mean.{index}"] for index in range(len(list(again.decoder.parameters())))]
    for weight, mean in zip(again.decoder.parameters(), means, strict=True):
        assert torch.equal(weight, mean)
