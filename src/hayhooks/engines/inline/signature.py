"""The request model of a hook, read once from its signature."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired, Required, Union, Unpack, get_args, get_origin

import docstring_parser
from pydantic import Field, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from starlette.datastructures import Headers, UploadFile
from typing_extensions import TypedDict

from hayhooks.core.deployment import Call, Upload
from hayhooks.core.errors import InvalidRequest

_NO_RESPONSE_MODEL = (inspect.Parameter.empty, Any, None)


@dataclass(frozen=True, slots=True, eq=False)
class Arguments:
    """Turns a call into keyword arguments, and says which calls it accepts.

    JSON is validated strictly: what the schema calls an integer is no string and no boolean. Forms carry text only,
    so their fields are read as the parameter's type asks.
    """

    model: TypeAdapter[dict[str, Any]]
    fields: Mapping[str, TypeAdapter[Any]]
    text_fields: frozenset[str]  # parameters that take text as it is
    list_fields: frozenset[str]
    file_fields: Mapping[str, bool]  # upload parameter: takes several
    required_files: frozenset[str]
    wants_headers: bool
    takes_extra: bool  # **kwargs
    schema: Mapping[str, Any] = field(default_factory=dict)

    def of(self, call: Call) -> dict[str, Any]:
        """The keyword arguments for *call*.

        Raises:
            InvalidRequest: With every fault and where it is.
        """
        if call.arguments is not None:
            arguments = dict(call.arguments)
        elif call.form is not None or call.uploads is not None:
            arguments = self._from_form(call.form or (), call.uploads or {})
        else:
            arguments = self._from_json(call.body or b"{}")
        if self.takes_extra:
            arguments.pop("self", None)  # the one keyword that no method can take
        if self.wants_headers:
            arguments["headers"] = Headers(raw=list(call.headers))
        return arguments

    def _from_json(self, body: bytes) -> dict[str, Any]:
        try:
            arguments = self.model.validate_json(body, strict=True)
        except ValidationError as error:
            raise _invalid(error) from None
        if self.required_files:
            self._check_files({})
        self._leave_out_files(arguments)
        return arguments

    def _from_form(self, form: Sequence[tuple[str, str]], uploads: Mapping[str, Sequence[Upload]]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        errors: list[dict[str, Any]] = []
        values: dict[str, list[str]] = {}
        for name, text in form:
            values.setdefault(name, []).append(text)
        for name, texts in values.items():
            if name in self.file_fields and not any(texts):
                continue  # a browser sends an empty field for a file that was not chosen
            if name not in self.fields:
                if self.takes_extra and name not in self.file_fields:
                    arguments[name] = texts[-1]
                continue
            try:
                arguments[name] = self._from_text(name, texts)
            except ValidationError as error:
                errors.extend(_errors(error, name))
        errors.extend(
            {"loc": ["body", name], "msg": "Field required", "type": "missing"}
            for name in self.schema.get("required", ())
            if name in self.fields and name not in values
        )
        if errors:
            raise InvalidRequest(_summary(errors), errors)
        self._check_files(uploads)
        for name, several in self.file_fields.items():
            files = [_upload_file(upload) for upload in uploads.get(name, ())]
            if several:
                if files or name in self.required_files:
                    arguments[name] = files
            elif files:
                arguments[name] = files[-1]
        return arguments

    def _check_files(self, uploads: Mapping[str, Sequence[Upload]]) -> None:
        missing = [name for name in self.required_files if not uploads.get(name)]
        if missing:
            errors = [{"loc": ["body", name], "msg": "File required", "type": "missing"} for name in sorted(missing)]
            raise InvalidRequest(_summary(errors), errors)

    def _from_text(self, name: str, texts: list[str]) -> Any:
        adapter = self.fields[name]
        text = texts[-1]
        if name in self.text_fields:
            return adapter.validate_python(text)
        if name in self.list_fields and (len(texts) > 1 or not text.lstrip().startswith("[")):
            try:  # one field per item, each as text ...
                return adapter.validate_python(texts)
            except ValidationError:  # ... or each as JSON
                return adapter.validate_json("[" + ",".join(texts) + "]", strict=True)
        try:
            return adapter.validate_json(text, strict=True)
        except ValidationError as as_json:
            try:  # an unquoted date, enum value or true
                return adapter.validate_strings(text)
            except ValidationError:
                raise as_json from None


def read_arguments(signature: inspect.Signature, docstring: str | None, title: str) -> Arguments:
    """The arguments of a hook with this signature.

    Raises:
        TypeError: When a parameter cannot be part of a request; the message names it.
    """
    descriptions = {item.arg_name: item.description for item in docstring_parser.parse(docstring or "").params}
    members: dict[str, Any] = {}
    fields: dict[str, TypeAdapter[Any]] = {}
    file_fields: dict[str, bool] = {}
    required_files, text_fields, list_fields = set(), set(), set()
    wants_headers = takes_extra = False
    for name, parameter in signature.parameters.items():
        if name == "self" or parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_extra = True
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"parameter {name!r} is positional-only; requests name their fields")
        annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
        if _takes_headers(name, annotation):
            wants_headers = True
            continue
        is_required = parameter.default is parameter.empty
        several = _upload_kind(annotation)
        if several is not None:
            file_fields[name] = several
            if is_required:
                required_files.add(name)
            continue
        members[name] = _member(annotation, parameter.default, descriptions.get(name), is_required)
        try:
            fields[name] = TypeAdapter(_unrequired(members[name]))
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise TypeError(
                f"parameter {name!r} has a type that cannot be read from JSON: {_short(annotation)}"
            ) from error
        if _is_text(annotation):
            text_fields.add(name)
        if _is_list(annotation):
            list_fields.add(name)
    model = _typed_dict(title, members, takes_extra=takes_extra)
    adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(model)
    schema = adapter.json_schema()
    schema["title"] = title
    schema.setdefault("properties", {})
    return Arguments(
        model=adapter,
        fields=fields,
        text_fields=frozenset(text_fields),
        list_fields=frozenset(list_fields),
        file_fields=file_fields,
        required_files=frozenset(required_files),
        wants_headers=wants_headers,
        takes_extra=takes_extra,
        schema=schema,
    )


def response_schema(annotation: Any) -> dict[str, Any] | None:
    """The JSON schema of a hook's result, or None when its annotation says nothing that has one."""
    if annotation in _NO_RESPONSE_MODEL:
        return None
    try:
        return TypeAdapter(annotation).json_schema(mode="serialization")
    except Exception:  # a Response, a generator, a class of the user's: nothing that a schema could say
        return None


def signature_of(hook: Callable[..., Any]) -> inspect.Signature:
    """The hook's signature with its annotations evaluated.

    Raises:
        TypeError: When an annotation names something that does not exist.
    """
    try:
        return inspect.signature(hook, eval_str=True)
    except NameError as error:
        raise TypeError(f"an annotation cannot be evaluated: {error}") from error


def _member(annotation: Any, default: Any, description: str | None, is_required: bool) -> Any:
    if is_required:
        return Required[Annotated[annotation, Field(description=description)] if description else annotation]
    if default is None and not _allows_none(annotation):
        annotation = annotation | None if not isinstance(annotation, str) else Any
    if isinstance(default, FieldInfo):
        return (Required if default.is_required() else NotRequired)[Annotated[annotation, default]]
    return NotRequired[Annotated[annotation, Field(default=default, description=description)]]


def _unrequired(member: Any) -> Any:
    return get_args(member)[0] if get_origin(member) in (Required, NotRequired) else member


def _typed_dict(title: str, members: Mapping[str, Any], *, takes_extra: bool) -> Any:
    # Built from a signature, not from source.
    model = TypedDict(title, dict(members))  # type: ignore[misc]  # noqa: UP013
    model.__pydantic_config__ = {  # type: ignore[attr-defined]
        "arbitrary_types_allowed": False,
        "extra": "allow" if takes_extra else "ignore",
    }
    return model


def _takes_headers(name: str, annotation: Any) -> bool:
    return name == "headers" and (annotation is Any or Headers in (annotation, *get_args(annotation)))


def _upload_kind(annotation: Any) -> bool | None:
    """False for one file, True for several, None when the annotation is no file."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _upload_kind(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, UploadFile):
        return False
    if origin in (Union, types.UnionType):
        kinds = {_upload_kind(option) for option in get_args(annotation) if option is not type(None)}
        return kinds.pop() if len(kinds) == 1 else None
    if origin in (list, tuple, Sequence, typing.Sequence):
        inner = [_upload_kind(option) for option in get_args(annotation) if option is not ...]
        return True if inner and inner[0] is False else None
    return None


def _is_text(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _is_text(get_args(annotation)[0])
    options = [option for option in get_args(annotation) if option is not type(None)]
    if get_origin(annotation) in (Union, types.UnionType):
        return len(options) == 1 and _is_text(options[0])
    return annotation is str


def _is_list(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return any(_is_list(option) for option in get_args(annotation))
    return annotation in (list, set, tuple, frozenset) or get_origin(annotation) in (list, set, tuple, frozenset)


def _allows_none(annotation: Any) -> bool:
    return annotation in (Any, None, type(None)) or type(None) in get_args(annotation)


def _upload_file(upload: Upload) -> UploadFile:
    from fastapi import UploadFile as FastAPIUploadFile  # the class that users' annotations name

    return FastAPIUploadFile(upload.file, size=upload.size, filename=upload.filename, headers=upload.headers)


def _invalid(error: ValidationError) -> InvalidRequest:
    errors = _errors(error)
    return InvalidRequest(_summary(errors), errors)


def _errors(error: ValidationError, *where: str) -> list[dict[str, Any]]:
    return [
        {"loc": ["body", *where, *found["loc"]], "msg": found["msg"], "type": found["type"]}
        for found in error.errors(include_url=False, include_context=False, include_input=False)[:50]
    ]


def _summary(errors: list[dict[str, Any]]) -> str:
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where}: {first['msg']}{more}"


def _short(annotation: Any) -> str:
    return getattr(annotation, "__qualname__", None) or str(annotation)[:100]
