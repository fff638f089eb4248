"""The tables, beside Django's own auth_user. The columns that auth_ext adds to them are the database's: no model has them."""

from django.contrib.auth.models import User
from django.db import models


class ApiKey(models.Model):
    user = models.ForeignKey(User, models.CASCADE)
    name = models.TextField()
    is_active = models.BooleanField(db_default=True)
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)


class Note(models.Model):
    owner = models.ForeignKey(User, models.CASCADE)
    body = models.TextField()
