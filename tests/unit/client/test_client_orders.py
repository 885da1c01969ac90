"""The client's words as the contract's job object."""

from pathlib import Path

from ourvidz_worker.client.orders import JobOptions, new_job, pictures, with_references


def test_only_what_was_given_is_sent() -> None:
    job = new_job("sdxl_image_fast", "a cat", {})
    assert job == {
        "type": "sdxl_image_fast",
        "user_id": "local",
        "prompt": "a cat",
        "config": {},
        "metadata": {},
    }


def test_each_option_has_its_place() -> None:
    options: JobOptions = {
        "job_id": "j",
        "user_id": "u",
        "negative": "",
        "steps": 5,
        "guidance": 0.0,
        "size": "832x480",
        "seed": 0,
        "count": 3,
        "frames": 17,
        "duration": 5.0,
        "strength": 0.5,
        "first": "k/first.png",
        "last": "k/last.png",
        "messages": [{"role": "user", "content": "x"}],
        "config": {"sample_shift": 3.0},
        "metadata": {"allow_truncation": True},
    }
    job = new_job("video_fast", None, options)
    assert job == {
        "type": "video_fast",
        "id": "j",
        "user_id": "u",
        "negative_prompt": "",
        "messages": [{"role": "user", "content": "x"}],
        "config": {
            "sample_shift": 3.0,
            "num_inference_steps": 5,
            "guidance_scale": 0.0,
            "size": "832x480",
            "seed": 0,
            "num_images": 3,
            "frame_num": 17,
            "denoise_strength": 0.5,
            "first_frame": "k/first.png",
            "last_frame": "k/last.png",
        },
        "metadata": {"allow_truncation": True, "duration": 5.0},
    }


def test_the_reference_goes_where_each_family_reads_it() -> None:
    image = new_job("sdxl_image_fast", "x", {"reference": "k/a.png"})
    video = new_job("video_fast", "x", {"reference": "k/a.png"})
    assert image["metadata"] == {"reference_image_url": "k/a.png"}
    assert video["config"] == {"image": "k/a.png"}


def test_options_are_laid_over_a_whole_object_and_leave_it_alone() -> None:
    base = {"jobId": "old", "userId": "u", "config": {"seed": 1, "shift": 2}, "metadata": None}
    job = new_job("video_fast", None, {"base": base, "seed": 7, "job_id": "new"})
    assert job == {
        "type": "video_fast",
        "id": "new",
        "userId": "u",
        "config": {"seed": 7, "shift": 2},
        "metadata": {},
    }
    assert base["config"] == {"seed": 1, "shift": 2}


def test_files_are_told_from_keys_and_replaced_by_them() -> None:
    options: JobOptions = {"reference": Path("a.png"), "first": "k/b.png", "last": Path("c.png")}
    assert pictures(options) == {"reference": Path("a.png"), "last": Path("c.png")}
    named = with_references(options, {"reference": "k/a", "first": "k/x", "last": "k/c"})
    assert named == {"reference": "k/a", "first": "k/x", "last": "k/c"}
    assert options["reference"] == Path("a.png")
