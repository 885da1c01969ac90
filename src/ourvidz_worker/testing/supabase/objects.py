"""The storage of objects: upload, read, sign, delete, as the real one answers.

It answers 400 to most refusals and names the true status within the body.
"""

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ourvidz_worker.testing.supabase.state import BUCKETS, State, StoredObject


async def put(state: State, request: Request) -> Response:
    """`POST /storage/v1/object/{bucket}/{key}`."""
    bucket, key = request.path_params["bucket"], request.path_params["key"]
    if state.role_of(request) != "service":
        return refusal("403", "Unauthorized", "new row violates row-level security policy")
    if bucket not in BUCKETS:
        return refusal("404", "Bucket not found", "Bucket not found")
    media_type = request.headers.get("content-type", "")
    allowed = BUCKETS[bucket].media_types
    if allowed is not None and media_type not in allowed:
        return refusal("415", "invalid_mime_type", f"mime type {media_type} is not supported")
    name = f"{bucket}/{key}"
    if name in state.objects and request.headers.get("x-upsert") != "true":
        return refusal("409", "Duplicate", "The resource already exists")
    state.objects[name] = StoredObject(media_type, await request.body())
    return JSONResponse({"Key": name, "Id": name})


async def get(state: State, request: Request) -> Response:
    """`GET /storage/v1/object/{bucket}/{key}` with a key that may read."""
    if state.role_of(request) != "service":
        return refusal("403", "Unauthorized", "Unauthorized")
    return _reply(state, f"{request.path_params['bucket']}/{request.path_params['key']}")


async def public(state: State, request: Request) -> Response:
    """`GET /storage/v1/object/public/{bucket}/{key}`, of public buckets alone."""
    bucket = BUCKETS.get(request.path_params["bucket"])
    if bucket is None or not bucket.public:
        return refusal("404", "Bucket not found", "Bucket not found")
    return _reply(state, f"{request.path_params['bucket']}/{request.path_params['key']}")


async def sign(state: State, request: Request) -> Response:
    """`POST /storage/v1/object/sign/{bucket}/{key}` `{"expiresIn": seconds}`."""
    name = f"{request.path_params['bucket']}/{request.path_params['key']}"
    if state.role_of(request) != "service":
        return refusal("403", "Unauthorized", "Unauthorized")
    if name not in state.objects:
        return refusal("404", "not_found", "Object not found")
    seconds = float((await request.json())["expiresIn"])
    token = state.sign(name, state.clock.now() + seconds)
    return JSONResponse({"signedURL": f"/object/sign/{name}?token={token}"})


async def signed(state: State, request: Request) -> Response:
    """`GET /storage/v1/object/sign/{bucket}/{key}?token=…`, without any key."""
    name = f"{request.path_params['bucket']}/{request.path_params['key']}"
    if not state.is_signed(name, request.query_params.get("token", "")):
        return refusal("400", "InvalidJWT", '"exp" claim timestamp check failed')
    return _reply(state, name)


async def delete(state: State, request: Request) -> Response:
    """`DELETE /storage/v1/object/{bucket}` `{"prefixes": [...]}`; names that are not there pass."""
    bucket = request.path_params["bucket"]
    if state.role_of(request) != "service":
        return refusal("403", "Unauthorized", "Unauthorized")
    prefixes = json.loads(await request.body())["prefixes"]
    names = [f"{bucket}/{key}" for key in prefixes]
    gone = [name for name in names if state.objects.pop(name, None) is not None]
    return JSONResponse([{"name": name.partition("/")[2]} for name in gone])


async def bucket_info(state: State, request: Request) -> Response:
    """`GET /storage/v1/bucket/{bucket}`."""
    name = request.path_params["bucket"]
    if state.role_of(request) != "service":
        return refusal("403", "Unauthorized", "Unauthorized")
    if name not in BUCKETS:
        return refusal("404", "Bucket not found", "Bucket not found")
    return JSONResponse({"id": name, "name": name, "public": BUCKETS[name].public})


def refusal(status: str, error: str, message: str) -> JSONResponse:
    """A refusal: 400, with the true status in the body."""
    return JSONResponse({"statusCode": status, "error": error, "message": message}, 400)


def _reply(state: State, name: str) -> Response:
    found = state.objects.get(name)
    if found is None:
        return refusal("404", "not_found", "Object not found")
    return Response(found.data, media_type=found.media_type)
