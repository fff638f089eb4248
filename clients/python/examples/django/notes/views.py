"""Logins, devices, API keys, and notes that only their owner sees."""

import json
from collections.abc import AsyncIterator

from django.contrib.auth import authenticate as check_password
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from auth_ext.asgi import auth_of

from .identity import as_user, rows
from .models import Note

# --- logins ---------------------------------------------------------------------------------------------


@require_POST
def register(request: HttpRequest) -> HttpResponse:
    given = json.loads(request.body)
    try:
        User.objects.create_user(given["email"], password=given["password"])
    except IntegrityError:
        return HttpResponse(status=409)
    return HttpResponse(status=201)


@require_POST
def login(request: HttpRequest) -> HttpResponse:
    given = json.loads(request.body)
    # Django's hashers: it may store the password anew, so the session is opened afterwards.
    user = check_password(request, username=given["email"], password=given["password"])
    if user is None:
        return HttpResponse(status=401)
    open_session = "SELECT session_id, access_token, refresh_token FROM auth.open_session(%s, label => %s)"
    (opened,) = rows(open_session, str(user.pk), given.get("device"))
    return JsonResponse(opened)


@require_POST
def refresh(request: HttpRequest) -> HttpResponse:
    refresh_session = "SELECT valid, reason, access_token, refresh_token FROM auth.refresh_session(%s)"
    (row,) = rows(refresh_session, json.loads(request.body)["refresh_token"])
    if not row["valid"]:
        return JsonResponse({"detail": row["reason"]}, status=401)
    return JsonResponse({"access_token": row["access_token"], "refresh_token": row["refresh_token"]})


# --- for people -----------------------------------------------------------------------------------------


@require_GET
def devices(request: HttpRequest) -> HttpResponse:
    with as_user(request):
        return JsonResponse(rows("SELECT session_id, label, last_used_at, is_current FROM auth.my_sessions()"), safe=False)


@require_http_methods(["DELETE"])
def end_device(request: HttpRequest, session_id: str) -> HttpResponse:
    with as_user(request):
        (row,) = rows("SELECT auth.end_my_session(%s) AS ended", session_id)
    return HttpResponse(status=204 if row["ended"] else 404)


@require_POST
def logout_everywhere(request: HttpRequest) -> HttpResponse:
    with as_user(request):
        rows("SELECT auth.bump_session_version(auth.require_user())")
    return HttpResponse(status=204)


@require_POST
def create_api_key(request: HttpRequest) -> HttpResponse:
    if auth_of(request).token is None:
        return HttpResponse(status=403)
    with as_user(request):
        (made,) = rows("SELECT id, key FROM auth.create_api_key(auth.require_user(), 'made by hand')")
    return JsonResponse(made, status=201)


@require_GET
async def live(request: HttpRequest) -> HttpResponse:
    """Server-sent events, until the login ends."""

    async def stream() -> AsyncIterator[str]:
        yield "event: hello\ndata: {}\n\n"
        yield f"event: ended\ndata: {await auth_of(request).ended()}\n\n"

    return StreamingHttpResponse(stream(), content_type="text/event-stream", headers={"Cache-Control": "no-store"})


# --- for people and programs ----------------------------------------------------------------------------


@require_GET
def me(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user_id": auth_of(request).user_id})


@require_http_methods(["GET", "POST"])
def notes(request: HttpRequest) -> HttpResponse:
    with as_user(request):
        if request.method == "POST":
            note = Note.objects.create(owner_id=auth_of(request).user_id, body=json.loads(request.body)["body"])
            return JsonResponse({"id": note.pk}, status=201)
        # No filter: the policy has it.
        return JsonResponse(list(Note.objects.order_by("id").values("id", "body")), safe=False)
