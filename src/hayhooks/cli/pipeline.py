"""``hayhooks pipeline``: deploy, roll back, undeploy and run."""

from pathlib import Path

import click

from hayhooks.cli.canary import abort, canary, canary_options, check_canary_options, promote
from hayhooks.cli.changes import print_deployed, print_tried
from hayhooks.cli.connection import (
    CommandFailed,
    ExistingPath,
    complete_names,
    connection_options,
    environment_of_command,
    server_client,
)
from hayhooks.cli.output import human_bytes, print_done, print_json
from hayhooks.cli.pipeline_run import run
from hayhooks.cli.pipeline_versions import json_option, rollback, versions
from hayhooks.cli.progress import waiting

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Build it and say what it would change for callers; change nothing."
)
yaml_file = click.argument("file", type=ExistingPath(exists=True, dir_okay=False, path_type=Path))


@click.group(short_help="Deploy, roll back, undeploy and run pipelines.")
@connection_options
def pipeline() -> None:
    """Deploy, try, roll back, undeploy and run pipelines on a server."""


@pipeline.command("deploy-files", short_help="Deploy a directory with a pipeline_wrapper.py.")
@click.argument("directory", type=ExistingPath(exists=True, file_okay=False, path_type=Path))
@click.option("--name", "-n", help="Name of the deployment. [default: the directory's]")
@click.option("--overwrite", "-o", is_flag=True, help="Replace a deployment of that name.")
@click.option("--skip-saving-files", "-s", is_flag=True, help="Serve it until the server stops, without keeping it.")
@canary_options
@dry_run_option
@json_option
@connection_options
@click.pass_context
def deploy_files(
    context: click.Context,
    directory: Path,
    name: str | None,
    overwrite: bool,
    skip_saving_files: bool,
    canary: int | None,
    max_error_percent: float | None,
    min_runs: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Deploy the files in DIRECTORY, which holds a pipeline_wrapper.py and whatever it needs.

    Repositories, environments and caches in it are left out, and so is what
    HAYHOOKS_FILES_TO_IGNORE_PATTERNS names.
    """
    from hayhooks.cli.sources import UnusableDirectory, directory_files

    name = name or directory.resolve().name
    plan = check_canary_options(canary, max_error_percent, min_runs)
    try:
        files = directory_files(directory, environment_of_command().files_to_ignore_patterns)
        size = sum(path.stat().st_size for path in files.values())
    except (UnusableDirectory, OSError) as error:
        raise CommandFailed(str(error)) from error
    count = f"{len(files)} file{'s' if len(files) > 1 else ''}, {human_bytes(size)}"
    with server_client(context, manages=True) as client:
        if dry_run:
            with waiting(f"Trying out {name!r}: {count}"):
                tried = client.try_files(name, files, overwrite=overwrite, save_files=not skip_saving_files, **plan)
            print_tried(tried, as_json)
            return
        with waiting(f"Deploying {name!r}: {count}"):
            deployed = client.deploy_files(name, files, overwrite=overwrite, save_files=not skip_saving_files, **plan)
        print_deployed(client, deployed, as_json)


@pipeline.command("deploy-yaml", short_help="Deploy a pipeline YAML with inputs and outputs.")
@yaml_file
@click.option("--name", "-n", help="Name of the deployment. [default: the file's]")
@click.option("--overwrite", "-o", is_flag=True, help="Replace a deployment of that name.")
@click.option("--description", help="What it does, for the API's documentation and for tools.")
@click.option("--skip-mcp", is_flag=True, help="Do not offer it as an MCP tool.")
@click.option("--save-file/--no-save-file", default=True, show_default=True, help="Keep it when the server restarts.")
@canary_options
@dry_run_option
@json_option
@connection_options
@click.pass_context
def deploy_yaml(
    context: click.Context,
    file: Path,
    name: str | None,
    overwrite: bool,
    description: str | None,
    skip_mcp: bool,
    save_file: bool,
    canary: int | None,
    max_error_percent: float | None,
    min_runs: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Deploy the pipeline YAML in FILE, which declares its inputs and outputs."""
    name = name or file.stem
    source_code = _text(file)
    plan = check_canary_options(canary, max_error_percent, min_runs)
    skips = True if skip_mcp else None  # None: the YAML may say so itself
    with server_client(context, manages=True) as client:
        if dry_run:
            with waiting(f"Trying out {name!r}"):
                tried = client.try_yaml(
                    name,
                    source_code,
                    overwrite=overwrite,
                    description=description,
                    skip_mcp=skips,
                    save_file=save_file,
                    **plan,
                )
            print_tried(tried, as_json)
            return
        with waiting(f"Deploying {name!r}"):
            deployed = client.deploy_yaml(
                name,
                source_code,
                overwrite=overwrite,
                description=description,
                skip_mcp=skips,
                save_file=save_file,
                **plan,
            )
        print_deployed(client, deployed, as_json)


@pipeline.command("deploy", short_help="Deploy a pipeline YAML the first way.")
@yaml_file
@click.option("--name", "-n", help="Name of the deployment. [default: the file's]")
@json_option
@connection_options
@click.pass_context
def deploy(context: click.Context, file: Path, name: str | None, as_json: bool) -> None:
    """Deploy the pipeline YAML in FILE as it is: POST /NAME then takes {component: {input: value}}.

    New pipelines declare inputs and outputs and use deploy-yaml.
    """
    name = name or file.stem
    source_code = _text(file)
    with server_client(context, manages=True) as client:
        with waiting(f"Deploying {name!r}"):
            deployed = client.deploy_legacy(name, source_code)
        print_deployed(client, deployed, as_json)


@pipeline.command("undeploy", short_help="Take a deployment out of service.")
@click.argument("name", shell_complete=complete_names)
@json_option
@connection_options
@click.pass_context
def undeploy(context: click.Context, name: str, as_json: bool) -> None:
    """Take the deployment NAME out of service."""
    with server_client(context, manages=True) as client, waiting(f"Undeploying {name!r}"):
        undeployed = client.undeploy(name)
    if as_json:
        print_json(undeployed.raw)
    else:
        print_done(f"Undeployed {undeployed.name!r}.")


for command in (run, versions, rollback, canary, promote, abort):
    pipeline.add_command(command)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"Cannot read {file} as UTF-8 text: {error}.") from error
