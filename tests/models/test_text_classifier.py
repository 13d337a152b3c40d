"""Towers of open_clip on images of any size, texts, and the logits they make together."""

import logging
import sys

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel

from tests.models.text_towers import TEXT, VISION, config_of, random_classifier, write_json
from wsss.models.attention import patch_attention, patch_size
from wsss.models.clip_tower import TimmTower, build_tower
from wsss.models.open_clip_files import embed_prompts, image_tower, load_pair
from wsss.models.prompts import BACKGROUND, PromptConfig, prompts_of
from wsss.models.weights import load_weights


def network(quick_gelu=False, **vision):
    """open_clip's own, float64, with norms that do something."""
    torch.manual_seed(5)
    clip = open_clip.CLIP(16, VISION | vision, dict(TEXT, vocab_size=8), quick_gelu=quick_gelu)
    with torch.no_grad():
        for name, parameter in clip.visual.named_parameters():
            if "ln_" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return clip.double().eval()


def ours(clip, pooling="own", quick_gelu=False, **vision):
    tower = build_tower(config_of(pooling, quick_gelu=quick_gelu, **vision)).double().eval()
    load_weights(tower, clip.visual.state_dict(), source="open_clip")
    return tower


def images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).double()


class TestTower:
    @pytest.mark.parametrize(
        "vision",
        [
            {},
            {"quick_gelu": True},
            {"ls_init_value": 0.1, "no_ln_pre": True},
            {"pool_type": "avg"},
            {"pool_type": "avg", "final_ln_after_pool": True},
            {"pos_embed_type": "sin_cos_2d", "image_size": [32, 32]},
            {"image_size": [32, 48]},
            {"qk_norm": True, "scale_attn": True},
        ],
    )
    def test_at_its_own_size_it_is_open_clips(self, vision):
        clip = network(**vision)
        height, width = np.broadcast_to(vision.get("image_size", 32), 2).tolist()
        seen = images(2, 3, height, width)
        with torch.no_grad():
            expected = clip.encode_image(seen, normalize=True)
            found = F.normalize(ours(clip, **vision).embed(seen), dim=-1)
        assert (found - expected).abs().max() < 1e-14

    def test_the_mean_of_the_patches(self):
        """CLIP-ES: ln_post, the mean without the class token, proj."""
        clip = network()
        seen = images(2, 3, 32, 32)
        kept = []
        clip.visual.ln_post.register_forward_hook(lambda m, i, output: kept.append(output))
        with torch.no_grad():
            clip.encode_image(seen)
            tower = ours(clip, "patches")
            expected = kept[0][:, 1:].mean(dim=1) @ clip.visual.proj
            assert (tower.embed(seen) - expected).abs().max() < 1e-14
            grid = kept[0][:, 1:].reshape(2, 4, 4, 32).permute(0, 3, 1, 2)
            assert (tower(seen) - grid).abs().max() < 1e-14

    def test_positions_of_other_grids_by_hand(self):
        tower = ours(network())
        embedding = tower.positional_embedding.detach().numpy()
        found = tower._positions(3, 7).detach().numpy()
        assert np.array_equal(found[0], embedding[0])
        table = embedding[1:].reshape(4, 4, 32)
        for row in range(3):
            for column in range(7):
                expected = np.zeros(32)
                # centres of cells; outside of the outermost ones the last value goes on
                y = np.clip((row + 0.5) * 4 / 3 - 0.5, 0, 3)
                x = np.clip((column + 0.5) * 4 / 7 - 0.5, 0, 3)
                for i in range(4):
                    for j in range(4):
                        share = max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
                        expected += share * table[i, j]
                assert np.abs(found[1 + row * 7 + column] - expected).max() < 1e-12

    def test_another_size_is_open_clips_with_that_table(self):
        clip, seen = network(), images(2, 3, 24, 56)
        tower = ours(clip)
        clip.visual.positional_embedding = torch.nn.Parameter(tower._positions(3, 7).detach())
        with torch.no_grad():
            expected = clip.encode_image(seen)
            assert (tower.embed(seen) - expected).abs().max() < 1e-13

    @pytest.mark.parametrize(("size", "grid"), [((45, 70), (5, 8)), ((3, 100), (1, 12))])
    def test_odd_sizes_are_resized_to_whole_patches(self, size, grid):
        tower, seen = ours(network()), images(1, 3, *size)
        whole = F.interpolate(seen, [8 * n for n in grid], mode="bilinear", align_corners=False)
        with torch.no_grad():
            assert tower(seen).shape == (1, 32, *grid)
            assert torch.equal(tower(seen), tower(whole))
            assert torch.equal(tower.embed(seen), tower.embed(whole))

    def test_attention_between_patches(self):
        """Of the two last blocks, by open_clip's own modules."""
        clip, seen = network(), images(1, 3, 32, 32)
        kept = []
        for block in clip.visual.transformer.resblocks[1:]:
            block.ln_1.register_forward_hook(lambda m, i, output: kept.append(output))
        with torch.no_grad():
            clip.encode_image(seen)
            blocks = clip.visual.transformer.resblocks[1:]
            expected = sum(
                block.attn(tokens, tokens, tokens, average_attn_weights=True)[1]
                for block, tokens in zip(blocks, kept)
            )
        tower = ours(clip)
        found = patch_attention(tower, seen, 2).reshape(16, 16)
        assert (found - expected[0, 1:, 1:] / 2).abs().max() < 1e-12
        assert patch_size(tower) == 8

    @pytest.mark.parametrize(
        ("vision", "message"),
        [
            ({"layers": [1, 1, 1, 1]}, "CLIP's ResNets pool by an attention of their own"),
            ({"attentional_pool": True}, "pools by attention, as CoCa"),
            ({"pool_type": "none"}, "does not pool"),
            ({"patch_size": [8, 16]}, "patches are not square"),
            ({"timm_model_name": "convnext_tiny"}, "a projection of open_clip's own"),
            ({"timm_model_name": "convnext_tiny", "timm_proj": None}, "images of one size|no vis"),
            ({"timm_model_name": "vit_tiny_patch16_224", "timm_proj": ""}, "pooling: patches"),
            ({"timm_model_name": "vit_tiny_r_s16_p8_224", "timm_proj": ""}, "blocks of patches"),
        ],
    )
    def test_others_are_refused_with_the_reason(self, vision, message):
        pooling = "patches" if "vit_tiny_patch" in vision.get("timm_model_name", "") else "own"
        with pytest.raises(ValueError, match=f"model: .*({message})"):
            build_tower(config_of(pooling, **vision))

    @pytest.mark.parametrize(
        ("name", "pool", "proj"),
        [
            ("vit_tiny_patch16_224", "map", "none"),  # as SigLIP
            ("eva02_tiny_patch14_224", "token", None),  # as EVA02-CLIP
        ],
    )
    def test_towers_of_timm(self, name, pool, proj):
        width = 192
        vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj}
        theirs = TimmModel(name, embed_dim=width, pool=pool, proj=proj).eval()
        tower = build_tower(config_of(embed_dim=width, **vision)).eval()
        assert isinstance(tower, TimmTower)
        load_weights(tower, theirs.state_dict(), source="open_clip")
        seen = images(1, 3, 224, 224).float()
        with torch.no_grad():
            assert torch.equal(tower.embed(seen), theirs(seen))
            patch = tower.patch_size
            assert tower(images(1, 3, 100, 165).float()).shape == (
                1, width, 100 // patch, 165 // patch,
            )  # fmt: skip
            assert tower.embed(images(1, 3, 100, 165).float()).shape == (1, width)
        # with rotary positions too, the walk is told who attends to whom
        found = patch_attention(tower, images(1, 3, 48, 64).float(), 1)
        layer = tower.trunk.blocks[-1].attn
        seen_weights: list[torch.Tensor] = []
        layer.attn_drop.register_forward_hook(lambda m, i, o: seen_weights.append(o))
        layer.fused_attn = False
        with torch.no_grad():
            tower(images(1, 3, 48, 64).float())
        rows, columns = 48 // patch, 64 // patch
        expected = seen_weights[0].mean(dim=1)[:, -rows * columns :, -rows * columns :]
        torch.testing.assert_close(found.flatten(3).flatten(1, 2), expected)


class TestLogits:
    @pytest.mark.parametrize("pooling", ["own", "patches"])
    def test_odds_against_the_background(self, pooling):
        model, seen = random_classifier(pooling), images(2, 3, 40, 33)
        with torch.no_grad():
            logits = model(seen)
            embedding = model.backbone.embed(seen)
        embedding = (embedding / embedding.square().sum(dim=1, keepdim=True).sqrt()).numpy()
        for i in range(2):
            around = np.exp(10 * model.background.numpy() @ embedding[i])
            for k in range(3):
                own = np.exp(10 * model.text[k].numpy() @ embedding[i])
                p = own / (own + around.sum())
                assert float(logits[i, k].sigmoid()) == pytest.approx(p, rel=1e-12)

    def test_what_attribution_finds(self):
        model = random_classifier()
        assert model.default_layers == ["backbone.transformer.resblocks.2.ln_1"]
        assert model.default_target == "softmax"
        assert model(images(1, 3, 50, 20)).shape == (1, 3)


class TestPrompts:
    def test_sentences(self, caplog):
        caplog.set_level(logging.INFO)
        config = PromptConfig(
            templates=("a {}.", "one {}!"),
            classes={"bird": ["sparrow", "crow"]},
            background=("Crow", "sky", "tv screen", "bird"),
        )
        found = prompts_of(config, ["bird", "tv_screen"])
        assert found.classes == [
            ["a sparrow.", "one sparrow!", "a crow.", "one crow!"],
            ["a tv screen.", "one tv screen!"],
        ]
        assert found.background == [["a sky.", "one sky!"]]
        assert "Crow, tv screen, bird left out: also a class" in caplog.text

    def test_the_defaults_are_those_of_clip_es(self):
        assert PromptConfig().templates == ("a clean origami {}.",)
        assert len(BACKGROUND) == 25
        found = prompts_of(PromptConfig(), ["cat"])
        assert found.classes == [["a clean origami cat."]]
        assert found.background[0] == ["a clean origami ground."]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"templates": ()}, "prompts.templates: expected at least one"),
            ({"templates": ("a photo",)}, r"prompts.templates: expected one \{\} in each"),
            ({"classes": {"cat": []}}, "prompts.classes.cat: expected texts"),
            ({"classes": {"cat": [" "]}}, "prompts.classes.cat: expected texts"),
            ({"classes": {"cta": ["x"]}}, "prompts.classes.cta: .* no such class, but cat"),
            ({"classes": {"cat": ["Dog"]}}, "prompts.classes: cat and dog share the text 'dog'"),
            ({"background": ("",)}, "prompts.background: expected words"),
            ({"background": ("cat",)}, "prompts.background: expected at least one thing"),
        ],
    )
    def test_what_is_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            prompts_of(PromptConfig(**options), ["cat", "dog"])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    torch.manual_seed(2)
    return load_pair(str(write_json(tmp_path_factory.mktemp("json"))), None, None)


class TestPair:
    def test_a_file_of_open_clips_format(self, pair):
        assert pair.tower.pooling == "patches"
        assert pair.normalisation.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
        assert pair.scale == pytest.approx(1 / 0.07)
        tower = image_tower(pair)
        for key, value in pair.network.visual.state_dict().items():
            assert torch.equal(tower.state_dict()[key], value), key

    def test_the_ensemble_of_texts_by_formula(self, pair):
        config = PromptConfig(
            templates=("a {}.", "the {}"), classes={"a": ["cat", "big dog"]}, background=("sky",)
        )
        classes, background = embed_prompts(pair, prompts_of(config, ["a"]))
        total = np.zeros(16)
        for text in ("a cat.", "the cat", "a big dog.", "the big dog"):
            with torch.no_grad():
                one = pair.network.encode_text(pair.tokenizer([text]))[0].double().numpy()
            total += one / np.linalg.norm(one)
        assert np.abs(classes[0].numpy() - total / np.linalg.norm(total)).max() < 1e-6
        assert background.shape == (1, 16)
        assert not torch.allclose(background[0], classes[0])

    def test_weights_of_a_file(self, pair, tmp_path):
        from safetensors.torch import save_file

        torch.save(pair.network.state_dict(), tmp_path / "w.pt")
        save_file(pair.network.state_dict(), tmp_path / "w.safetensors")
        model = str(write_json(tmp_path))
        for name in ("w.pt", "w.safetensors"):
            again = load_pair(model, str(tmp_path / name), "own")
            assert again.tower.pooling == "own"
            for key, value in pair.network.state_dict().items():
                assert torch.equal(again.network.state_dict()[key], value), key

    def test_weights_of_the_hub(self, pair, tmp_path, monkeypatch):
        import open_clip.pretrained as hub

        torch.save(pair.network.state_dict(), tmp_path / "w.pt")
        asked = []
        monkeypatch.setattr(
            hub, "download_pretrained_from_hf", lambda name: asked.append(name) or tmp_path / "w.pt"
        )
        again = load_pair(str(write_json(tmp_path)), "hf-hub:someone/clip", None)
        assert asked == ["someone/clip"]
        assert torch.equal(again.network.visual.proj, pair.network.visual.proj)

    def test_openais_weights_bring_their_activations(self, pair, tmp_path, monkeypatch):
        """open_clip only warns that plain ViT-B-16 is not the network that they belong to."""
        import open_clip.pretrained as tags

        torch.save(pair.network.state_dict(), tmp_path / "w.pt")
        monkeypatch.setitem(tags._PRETRAINED, "tiny-clip", {"openai": {"quick_gelu": True}})
        monkeypatch.setattr(
            open_clip.factory, "download_pretrained", lambda cfg, cache_dir: str(tmp_path / "w.pt")
        )
        found = load_pair(str(write_json(tmp_path)), "openai", "own")
        assert found.tower.quick_gelu
        seen = images(1, 3, 32, 32).float()
        with torch.no_grad():
            expected = found.network.encode_image(seen)
            assert torch.equal(image_tower(found).eval().embed(seen), expected)
            assert not torch.allclose(pair.network.encode_image(seen), expected)

    @pytest.mark.parametrize(
        ("model", "weights", "message"),
        [
            ("ViT-B-61", None, "model: open_clip has no 'ViT-B-61'; near names are .*ViT-B-16"),
            ("no.json", None, "model: no such file: no.json"),
            ("ViT-B-16", "opnai", "weights: 'opnai' is no file, and no tag of .*: .*openai"),
            ("RN50", None, "model: RN50: CLIP's ResNets pool by an attention"),
            ("coca_base", None, "model: coca_base: it is a CoCa"),
            ("convnext_base", None, "model: convnext_base: its pooled features pass"),
            ("hf-hub:a/b", "openai", "weights: hf-hub:a/b brings its own, got 'openai'"),
        ],
    )
    def test_what_is_refused(self, model, weights, message):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            load_pair(model, weights, None)

    def test_files_that_are_refused(self, tmp_path):
        known = write_json(tmp_path, "ViT-B-16")
        with pytest.raises(ValueError, match="open_clip has a model called ViT-B-16; rename"):
            load_pair(str(known), None, None)
        (tmp_path / "half.json").write_text('{"embed_dim": 16}')
        with pytest.raises(ValueError, match=r"half\.json: expected the keys embed_dim"):
            load_pair(str(tmp_path / "half.json"), None, None)
        torch.save({"x": torch.zeros(1)}, tmp_path / "x.pt")
        with pytest.raises(ValueError, match=r"weights: .*x\.pt of .*tiny-clip\.json: "):
            load_pair(str(write_json(tmp_path)), str(tmp_path / "x.pt"), None)

    def test_without_open_clip(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "open_clip", None)
        with pytest.raises(ImportError, match=r"pip install 'wsss\[text\]'"):
            build_tower(config_of())
        vision = {"timm_model_name": "vit_tiny_patch16_224", "timm_proj": "none"}
        assert isinstance(
            build_tower(config_of(embed_dim=192, timm_pool="map", **vision)), TimmTower
        )
