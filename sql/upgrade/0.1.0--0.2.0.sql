-- Tables, views, triggers and data: what a fresh install has and 0.1.0 had not. See README.md beside this file.

-- Functions whose result or arguments have changed: dropped here, made anew below.

-- @functions

-- What needs the new functions: triggers, views.

