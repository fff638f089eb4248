"""The application's own tests, in Django's runner, for which notes_owner needs CREATEDB, and template1 what setup.sql makes.

    PGDATABASE=notes PGUSER=notes_owner SECRET_KEY=… ./manage.py test
"""

import json

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.http import HttpRequest
from django.test import RequestFactory, TestCase, TransactionTestCase

from auth_ext import Identity, Refused
from auth_ext.asgi import KEY, Auth

from . import views
from .identity import rows


def token_of(user: User) -> str:
    (session,) = rows("SELECT access_token FROM auth.open_session(%s)", str(user.pk))
    return session["access_token"]


def request_of(user: User, token: str, **body: str) -> HttpRequest:
    """As the middleware hands it to Django."""
    factory = RequestFactory()
    request = factory.post("/", body, "application/json") if body else factory.get("/")
    who = Identity(str(user.pk), 0, None, None, None, None, None, None, "{}")
    request.scope = {KEY: Auth(who, token=token)}
    return request


class Notes(TestCase):
    def setUp(self) -> None:
        self.ann, self.bob = (User.objects.create_user(name, password="secret") for name in ("ann", "bob"))

    def listed(self, user: User) -> list[str]:
        response = views.notes(request_of(user, token_of(user)))
        return [note["body"] for note in json.loads(response.content)]

    def test_everybody_sees_their_own(self) -> None:
        for user in (self.ann, self.bob):
            views.notes(request_of(user, token_of(user), body=f"of {user}"))
        self.assertEqual(self.listed(self.ann), ["of ann"])
        self.assertEqual(self.listed(self.bob), ["of bob"])

    def test_nobody_writes_for_another(self) -> None:
        with self.assertRaisesMessage(Exception, "row-level security"):
            views.notes(request_of(self.ann, token_of(self.bob), body="not of ann"))

    def test_a_login_at_which_django_stores_the_password_anew_gives_a_token_that_holds(self) -> None:
        cheap = PBKDF2PasswordHasher().encode("secret", "salt", iterations=1)
        User.objects.filter(pk=self.ann.pk).update(password=cheap)
        response = self.client.post("/login", {"email": "ann", "password": "secret"}, "application/json")
        self.assertNotEqual(User.objects.get(pk=self.ann.pk).password, cheap)
        self.assertEqual(views.notes(request_of(self.ann, response.json()["access_token"])).status_code, 200)

    def test_whatever_ends_a_login_ends_the_view_that_it_would_have_called(self) -> None:
        def is_refused_after(change: str) -> None:
            token = token_of(self.ann)
            with connection.cursor() as cursor:
                cursor.execute(change, [self.ann.pk])
            with self.assertRaises(Refused):
                views.notes(request_of(self.ann, token))

        is_refused_after("UPDATE auth_user SET password = 'of another tool' WHERE id = %s")
        is_refused_after("SELECT auth.bump_session_version(%s::text)")
        is_refused_after("UPDATE auth_user SET is_active = false WHERE id = %s")


class Flushed(TransactionTestCase):
    def test_the_next_user_of_an_id_is_another_user(self) -> None:
        ann = User.objects.create_user("ann")
        token = token_of(ann)
        call_command("flush", interactive=False, verbosity=0)
        bob = User.objects.create_user("bob", id=ann.pk)
        with self.assertRaises(Refused):
            views.notes(request_of(bob, token))
