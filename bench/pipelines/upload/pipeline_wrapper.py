"""Files in, their total size out."""

from fastapi import UploadFile

from hayhooks import BasePipelineWrapper

BLOCK_BYTES = 1 << 20


class PipelineWrapper(BasePipelineWrapper):
    """Reads every byte once, a block at a time."""

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_api(self, files: list[UploadFile] | None = None) -> int:
        """Return how many bytes the files hold."""
        total = 0
        for upload in files or []:
            while block := upload.file.read(BLOCK_BYTES):
                total += len(block)
        return total
