"""Ask a deployment from a Haystack pipeline of your own, through its OpenAI-compatible endpoint.

python client.py ask_docs "How do I deploy a pipeline?"
"""

import argparse
import asyncio

from haystack import Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.utils import Secret


def print_chunk(chunk: StreamingChunk) -> None:
    print(chunk.content, end="", flush=True)


async def print_chunk_async(chunk: StreamingChunk) -> None:
    print(chunk.content, end="", flush=True)


def generator(url: str, deployment: str) -> OpenAIChatGenerator:
    """A deployment with a chat hook is a model of the server at *url*."""
    return OpenAIChatGenerator(
        model=deployment,
        api_base_url=f"{url}/v1",
        api_key=Secret.from_token("unused"),  # needed by the client; the server asks for none by default
    )


def ask(url: str, deployment: str, question: str) -> str:
    """The whole answer at once, from inside a pipeline."""
    pipeline = Pipeline()
    pipeline.add_component(
        "prompt", ChatPromptBuilder([ChatMessage.from_user("{{ question }}")], required_variables="*")
    )
    pipeline.add_component("llm", generator(url, deployment))
    pipeline.connect("prompt.prompt", "llm.messages")
    return pipeline.run({"prompt": {"question": question}})["llm"]["replies"][0].text


def ask_streaming(url: str, deployment: str, question: str) -> str:
    """The answer as it is made."""
    llm = generator(url, deployment)
    return llm.run([ChatMessage.from_user(question)], streaming_callback=print_chunk)["replies"][0].text


async def ask_async(url: str, deployment: str, question: str) -> str:
    """The answer as it is made, without blocking the event loop."""
    llm = generator(url, deployment)
    result = await llm.run_async([ChatMessage.from_user(question)], streaming_callback=print_chunk_async)
    return result["replies"][0].text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("deployment")
    parser.add_argument("question")
    parser.add_argument("--url", default="http://localhost:1416")
    args = parser.parse_args()

    print("At once:  ", ask(args.url, args.deployment, args.question))
    print("Streaming: ", end="")
    ask_streaming(args.url, args.deployment, args.question)
    print("\nAsync:     ", end="")
    asyncio.run(ask_async(args.url, args.deployment, args.question))
    print()


if __name__ == "__main__":
    main()
