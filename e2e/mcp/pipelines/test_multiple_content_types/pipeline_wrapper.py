"""Answers with blocks of its own."""

from hayhooks import BasePipelineWrapper

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class PipelineWrapper(BasePipelineWrapper):
    """Answers with blocks of its own."""

    def setup(self) -> None:
        self.pipeline = None

    def run_api(self):
        return [
            {"type": "text", "text": "Multiple content types test:"},
            {"type": "image", "data": PNG, "mimeType": "image/png"},
            {
                "type": "resource",
                "resource": {
                    "uri": "test://mixed-content-resource",
                    "mimeType": "application/json",
                    "text": '{"test":"data","value":123}',
                },
            },
        ]
