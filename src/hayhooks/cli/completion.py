"""``hayhooks completion``: what a shell needs to complete our commands."""

import os
from pathlib import PurePath

import click

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print the script that makes SHELL complete commands, options and names of deployments.

    SHELL is the one you use when it is left out. To have it in every new shell:

    \b
    bash: hayhooks completion bash > ~/.local/share/bash-completion/completions/hayhooks
    zsh:  echo 'eval "$(hayhooks completion zsh)"' >> ~/.zshrc
    fish: hayhooks completion fish > ~/.config/fish/completions/hayhooks.fish
    """  # noqa: D301 - click wants the character itself: it keeps these lines as they are
    from click.shell_completion import get_completion_class

    name = shell or PurePath(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name) if name in SHELLS else None
    if kind is None:
        raise click.UsageError(f"Name a shell: {', '.join(SHELLS)}.")
    root = context.find_root()
    click.echo(kind(root.command, {}, root.info_name or "hayhooks", "_HAYHOOKS_COMPLETE").source())
