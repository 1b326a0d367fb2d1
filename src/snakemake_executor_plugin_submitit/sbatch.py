"""Submitit's Slurm executor, which finds its job whatever else sbatch prints, and its files
whatever the folder is called."""

import uuid
from pathlib import Path
from typing import Any

import submitit

from . import slurm


class Sbatch(submitit.SlurmExecutor):
    """One submission, whose parameter `comment` tells its job from all others."""

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return ["sbatch", "--parsable", str(submission_file_path)]

    def _get_job_id_from_submission_command(self, string: str | bytes) -> str:  # type: ignore[override]
        said = string if isinstance(string, str) else string.decode(errors="replace")
        return slurm.submitted(said, self.parameters["comment"])

    def _internal_process_submissions(self, delayed_submissions: list[Any]) -> list[Any]:
        """As submitit does, which makes the array by an executor without the methods above."""
        if len(delayed_submissions) == 1:
            return list(super()._internal_process_submissions(delayed_submissions))
        pickles = []
        for delayed in delayed_submissions:
            delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
            pickles.append(Path(self.folder) / f"{uuid.uuid4().hex}.pkl")
            delayed.dump(pickles[-1])
        self.parameters["map_count"] = len(pickles)
        main = self._submit_command(self._submitit_command_str).job_id
        jobs: list[Any] = [
            submitit.SlurmJob(folder=self.folder, job_id=f"{main}_{n}", tasks=[0])
            for n in range(len(pickles))
        ]
        for job, pickle in zip(jobs, pickles, strict=True):
            job.paths.move_temporary_file(pickle, "submitted_pickle")
        return jobs


def log_pattern(folder: Path, array: bool) -> str:
    """The log of an allocation in the words of sbatch and srun, which replace `%u` and the like.

    Example:
        >>> log_pattern(Path("/home/100%up"), array=True)
        '/home/100%%up/%A_%a_0_log.out'
    """
    return f"{folder}".replace("%", "%%") + f"/{'%A_%a' if array else '%j'}_0_log.out"


def options(folder: Path, array: bool, parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters with the log's place: it is given after submitit's own, which it overrules."""
    log = log_pattern(folder, array)
    return parameters | {
        "additional_parameters": parameters["additional_parameters"] | {"output": log},
        "srun_args": [*parameters["srun_args"], f"--output={log}"],
    }
