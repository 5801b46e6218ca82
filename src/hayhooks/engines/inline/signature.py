"""The request model of a hook, read once from its signature."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Annotated, Any, NotRequired, Required, Union, Unpack, get_args, get_origin

import docstring_parser
from pydantic import Field, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema
from starlette.datastructures import Headers, UploadFile
from typing_extensions import TypedDict

from hayhooks.core.deployment import Call, Upload
from hayhooks.core.errors import InvalidRequest

# Headings of Google's and numpy's styles, and Epytext's tags.
_OTHER_STYLES = re.compile(r"(?m)^\s*(?:[A-Z][A-Za-z ]*:\s*$|-{3,}\s*$|@\w+)")


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
    file_defaults: Mapping[str, Any]
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
        elif call.body is not None and call.uploads is not None:
            arguments = self._from_json(call.body, call.uploads)
        elif call.form is not None or call.uploads is not None:
            arguments = self._from_form(call.form or (), call.uploads or {})
        else:
            arguments = self._from_json(call.body or b"{}", {})
        if self.takes_extra:
            arguments.pop("self", None)  # the one keyword that no method can take
        if self.wants_headers:
            arguments["headers"] = Headers(raw=list(call.headers))
        return arguments

    def _from_json(self, body: bytes, uploads: Mapping[str, Sequence[Upload]]) -> dict[str, Any]:
        try:
            arguments = self.model.validate_json(body, strict=True)
        except ValidationError as error:
            raise _invalid(error) from None
        if self.file_fields:
            arguments |= self._files(uploads)
        return arguments

    def _from_form(self, form: Sequence[tuple[str, str]], uploads: Mapping[str, Sequence[Upload]]) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        errors: list[dict[str, Any]] = []
        values: dict[str, list[str]] = {}
        for name, text in form:
            values.setdefault(name, []).append(text)
        for name, texts in values.items():
            if name in self.file_fields:
                if any(texts):  # a browser sends an empty field for a file that was not chosen
                    why = "A file comes as a part of multipart/form-data"
                    errors.append({"loc": ["body", name], "msg": why, "type": "file_type"})
                continue
            if name not in self.fields:
                if self.takes_extra:
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
        for name, adapter in self.fields.items():
            default = adapter.get_default_value() if name not in arguments else None
            if default is not None:
                arguments[name] = default.value
        return arguments | self._files(uploads)

    def _files(self, uploads: Mapping[str, Sequence[Upload]]) -> dict[str, Any]:
        missing = [name for name in self.required_files if not uploads.get(name)]
        if missing:
            errors = [{"loc": ["body", name], "msg": "File required", "type": "missing"} for name in sorted(missing)]
            raise InvalidRequest(_summary(errors), errors)
        arguments = dict(self.file_defaults)
        for name, several in self.file_fields.items():
            files = [_upload_file(upload) for upload in uploads.get(name, ())]
            if files:
                arguments[name] = files if several else files[-1]
        return arguments

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


def read_arguments(
    signature: inspect.Signature, docstring: str | None, title: str, *, is_request: bool = True
) -> Arguments:
    """The arguments of a hook with this signature.

    With *is_request* False, as for hooks whose arguments the server makes, their types do not matter.

    Raises:
        TypeError: When a parameter cannot be part of a request; the message names it.
    """
    descriptions = _descriptions(signature, docstring or "")
    members: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    file_fields: dict[str, bool] = {}
    file_defaults: dict[str, Any] = {}
    required_files, text_fields, list_fields = set(), set(), set()
    wants_headers = False
    extra: Any = None
    for name, parameter in signature.parameters.items():
        if name == "self" or parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = Any if parameter.annotation is parameter.empty else parameter.annotation
            extra = Any if get_origin(extra) is Unpack else extra
            continue
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"parameter {name!r} is positional-only; requests name their fields")
        annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
        if _takes_headers(name, annotation):
            wants_headers = True
            continue
        default = parameter.default
        is_required = default.is_required() if isinstance(default, FieldInfo) else default in (parameter.empty, ...)
        several = _upload_kind(annotation)
        if several is not None:
            file_fields[name] = several
            if is_required:
                required_files.add(name)
            else:
                file_defaults[name] = default.get_default() if isinstance(default, FieldInfo) else default
            continue
        if not is_request:
            members[name] = annotations[name] = Any
            continue
        members[name] = _member(annotation, default, descriptions.get(name), is_required)
        annotations[name] = annotation
        if _is_text(annotation):
            text_fields.add(name)
        if _is_list(annotation):
            list_fields.add(name)
    takes_extra = extra is not None
    model = _typed_dict(title, members, extra)
    try:
        adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(model)
        schema = adapter.json_schema(schema_generator=_RequestSchema)
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        for name, member in members.items():
            _field(name, annotations[name], member)  # raises for the one that is at fault
        raise TypeError(f"its parameters cannot be read from JSON. {error}") from error
    # Only forms are read field by field, and only what takes files takes forms.
    fields = {name: _field(name, annotations[name], members[name]) for name in members} if file_fields else {}
    schema["title"] = title
    schema.setdefault("properties", {})
    return Arguments(
        model=adapter,
        fields=fields,
        text_fields=frozenset(text_fields),
        list_fields=frozenset(list_fields),
        file_fields=file_fields,
        required_files=frozenset(required_files),
        file_defaults=file_defaults,
        wants_headers=wants_headers,
        takes_extra=takes_extra,
        schema=schema,
    )


class _RequestSchema(GenerateJsonSchema):
    """What a request may be, where pydantic's own schema asks for more than its validation does."""

    def set_schema(self, schema: core_schema.SetSchema) -> dict[str, Any]:
        """An array: what is there twice is taken once."""
        return _repeatable(super().set_schema(schema))

    def frozenset_schema(self, schema: core_schema.FrozenSetSchema) -> dict[str, Any]:
        """The same."""
        return _repeatable(super().frozenset_schema(schema))


def signature_of(hook: Callable[..., Any], *, is_request: bool = True) -> inspect.Signature:
    """The hook's signature with its annotations evaluated.

    What names something that is only there for type checkers says nothing: what the hook returns, and with *is_request*
    False, as for hooks whose arguments the server makes, its parameters too.

    Raises:
        TypeError: When an annotation of a request's field names something that does not exist.
    """
    signature = inspect.signature(hook)
    function = inspect.unwrap(hook)
    try:
        # Names inside other annotations too, as in list["Node"].
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, SyntaxError) as error:
        hints = _hints_that_hold(function)
        if is_request and any(name not in hints and name != "return" for name in function.__annotations__):
            raise TypeError(f"an annotation cannot be evaluated: {error}") from error
    except TypeError:  # no function: an object that can be called
        return inspect.signature(hook, eval_str=True)
    parameters = [
        item.replace(annotation=hints.get(name, _unread(item.annotation)))
        for name, item in signature.parameters.items()
    ]
    returned = hints.get("return", _unread(signature.return_annotation))
    return signature.replace(parameters=parameters, return_annotation=returned)


def _hints_that_hold(function: Any) -> dict[str, Any]:
    """The annotations that can be evaluated, each by itself."""
    found: dict[str, Any] = {}
    for name, annotation in function.__annotations__.items():
        alone = SimpleNamespace(__annotations__={name: annotation})
        with suppress(NameError, AttributeError, SyntaxError):
            found |= typing.get_type_hints(alone, globalns=function.__globals__, include_extras=True)
    return found


def _unread(annotation: Any) -> Any:
    return inspect.Parameter.empty if isinstance(annotation, str) else annotation


def _repeatable(array: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in array.items() if key != "uniqueItems"}


def _descriptions(signature: inspect.Signature, docstring: str) -> dict[str, str | None]:
    """What the docstring says of each parameter."""
    if not any(name in docstring for name in signature.parameters):
        return {}  # reading it in each of the usual styles takes long
    # One that says what it is, is read in that style alone.
    is_rest = ":param " in docstring and not _OTHER_STYLES.search(docstring)
    style = docstring_parser.DocstringStyle.REST if is_rest else docstring_parser.DocstringStyle.AUTO
    try:
        found = docstring_parser.parse(docstring, style)
    except docstring_parser.ParseError:
        try:
            found = docstring_parser.parse(docstring)  # as whatever else it may be
        except docstring_parser.ParseError:
            return {}
    return {item.arg_name: item.description for item in found.params}


def _member(annotation: Any, default: Any, description: str | None, is_required: bool) -> Any:
    """What a parameter is in the request model; a text of the docstring wins over one of the annotation."""
    if default is None and not _allows_none(annotation):
        annotation = Union[annotation, None]  # noqa: UP007 - it may be a string, which has no | operator
    about: dict[str, Any] = {"description": description} if description else {}
    if isinstance(default, FieldInfo):
        annotation = Annotated[annotation, default]
    elif not is_required:
        about["default"] = default
    if about:
        annotation = Annotated[annotation, Field(**about)]
    return (Required if is_required else NotRequired)[annotation]


def _field(name: str, annotation: Any, member: Any) -> TypeAdapter[Any]:
    """Reads one parameter alone, as forms need it."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(get_args(member)[0])
        adapter.json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        reason = str(error).partition("\n")[0].partition(" Set `arbitrary_types_allowed")[0]
        raise TypeError(
            f"parameter {name!r} has a type that cannot be read from JSON: {_short(annotation)}. {reason}"
        ) from error
    return adapter


def _typed_dict(title: str, members: Mapping[str, Any], extra: Any) -> Any:
    # Built from a signature, not from source.
    others: dict[str, Any] = {} if extra is None else {"extra_items": extra}
    model = TypedDict(title, dict(members), **others)  # type: ignore[misc]  # noqa: UP013
    model.__pydantic_config__ = {  # type: ignore[attr-defined]
        "arbitrary_types_allowed": False,
        "extra": "ignore" if extra is None else "allow",
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
    return annotation in (str, Decimal)  # as a JSON number, a decimal would lose its digits


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
