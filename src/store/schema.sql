-- The catalog: all that is known, one table a noun of the OCI specifications.
--
-- Words in braces stand for what database engines say differently; the engine's file fills them in:
--   {id}      a row's number, given by the database
--   {number}  the same, never given twice
--   {int} {text} {blob}   64 bits; UTF-8, in byte order; bytes
--   {strict}  types are held; {keyed} and rows lie in the order of the primary key
--
-- A digest is a byte for its algorithm (1 = sha256, 2 = sha512) and the hash. Times are milliseconds
-- since 1970, UTC. Actors are the names of users, null for anybody. The version of this picture is
-- the database's `user_version`; each step from an older one stands in `migrations`.

-- What this catalog is: one row.
create table catalog (
    id          {int} not null primary key check (id = 1),
    -- Random; another after a restore, so that followers notice.
    catalog_id  {blob} not null,
    created_at  {int} not null,
    -- 1 while distribution's tree is the truth: it was handed over by `tree`, or its first import
    -- is not whole. Else 0.
    tree        {int} not null default 0,
    -- Bytes of all `copies`.
    copies_size {int} not null default 0
) {strict};

create table repositories (
    id          {id},
    name        {text} not null unique,
    -- How many manifests it holds; one without any is not listed.
    manifests   {int} not null default 0
) {strict};
create index repositories_listed on repositories (name) where manifests > 0;

-- Content by its digest, manifests as well as configurations and layers, of any repository.
create table blobs (
    id          {id},
    digest      {blob} not null unique,
    -- In bytes; null while nobody has said it.
    size        {int},
    -- Where its bytes are: 0 nowhere (something needs it, and it was not pushed, or its bytes were
    -- lost), 1 in `contents`, 2 in a file, 3 on a network alone, 4 there by its word, though nobody
    -- gave it when it was asked for last.
    place       {int} not null,
    -- The last 201, mount, or HEAD that said yes: what is collected has been silent since.
    touched_at  {int} not null
) {strict};

-- The bytes of what is small.
create table contents (
    blob        {int} not null primary key references blobs (id),
    bytes       {blob} not null
) {strict};

-- Which repository holds which blob, as a client put it there.
create table repository_blobs (
    repository  {int} not null references repositories (id),
    blob        {int} not null references blobs (id),
    primary key (repository, blob)
) {keyed};
create index repository_blobs_of_blob on repository_blobs (blob);

-- Which repository holds which manifest. The same bytes may be of another type elsewhere.
create table manifests (
    repository    {int} not null references repositories (id),
    blob          {int} not null references blobs (id),
    media_type    {text} not null,
    -- The digest of the manifest that it refers to, which may come later, or never.
    subject       {blob},
    pushed_at     {int} not null,
    -- Written at most once a minute.
    pulled_at     {int},
    primary key (repository, blob)
) {keyed};
create index manifests_of_blob on manifests (blob);

-- What the bytes of a manifest name: its configuration and layers, the manifests of an index.
create table needs (
    manifest    {int} not null references blobs (id),
    blob        {int} not null references blobs (id),
    primary key (manifest, blob)
) {keyed};
create index needs_of_blob on needs (blob);

-- Where each tag points. A tag points to a manifest of its own repository.
create table tags (
    repository  {int} not null,
    name        {text} not null,
    manifest    {int} not null,
    moved_at    {int} not null,
    primary key (repository, name),
    foreign key (repository, manifest) references manifests (repository, blob)
) {keyed};
create index tags_of_manifest on tags (repository, manifest);

-- Where each tag pointed, from when on, and who said so; the last row of a tag is where it is now.
create table tag_history (
    number      {number},
    repository  {int} not null references repositories (id),
    name        {text} not null,
    -- Null from when on it pointed nowhere.
    manifest    {int} references blobs (id),
    moved_at    {int} not null,
    actor       {text}
) {strict};
create index tag_history_of_tag on tag_history (repository, name, number);
create index tag_history_of_manifest on tag_history (manifest);

-- Who refers to a manifest, with the descriptor as it is listed (distribution-spec, "Listing
-- Referrers").
create table referrers (
    repository    {int} not null,
    subject       {blob} not null,
    digest        {blob} not null,
    manifest      {int} not null,
    media_type    {text} not null,
    size          {int} not null,
    artifact_type {text},
    -- A JSON object of texts.
    annotations   {text},
    primary key (repository, subject, digest),
    foreign key (repository, manifest) references manifests (repository, blob)
) {keyed};
create index referrers_of_type on referrers (repository, subject, artifact_type, digest);
create index referrers_of_manifest on referrers (repository, manifest);

-- Uploads on their way. The bytes are in a file of that name, whose length is the offset.
create table uploads (
    id          {text} not null primary key,
    repository  {text} not null,
    -- Whoever began it, for a share of the places: an address.
    client      {text} not null,
    started_at  {int} not null,
    written_at  {int} not null
) {keyed};
create index uploads_of_client on uploads (client);
create index uploads_by_age on uploads (written_at);

-- How far each blob is on each content network.
create table pins (
    network     {text} not null,
    blob        {int} not null references blobs (id),
    -- 0 not there yet, 1 under way, or an upload ended and nobody knows how, 2 there and not
    -- pinned yet, 3 pinned, 4 refused.
    state       {int} not null,
    -- The CID that we computed, and the UnixFS parameters that it was computed with.
    cid         {text},
    profile     {text},
    -- What the network calls its content or its request.
    remote      {text},
    -- How often it was tried, or looked for, since the last success, and why the last one failed.
    attempts    {int} not null default 0,
    cause       {text},
    -- When it is to be taken up again; null if never.
    due_at      {int},
    confirmed_at {int},
    -- Since when it is known that nobody knows whether an upload got through; null if that is known.
    lost_at     {int},
    primary key (network, blob)
) {keyed};
create index pins_of_blob on pins (blob);
create index pins_waiting on pins (network) where state <> 3;
create index pins_due on pins (network, due_at) where due_at is not null;

-- The content networks that were ever configured.
create table networks (
    name        {text} not null primary key,
    -- Blobs up to this number have been looked at for what is to be pinned there; those that are
    -- pushed while it is configured are enqueued with their push.
    enqueued_to {int} not null
) {keyed};

-- Files that a network keeps as well, but those of manifests: each may be dropped from this disk.
create table copies (
    blob        {int} not null primary key references blobs (id),
    size        {int} not null,
    -- Written at most once a minute.
    used_at     {int} not null
) {strict};
create index copies_by_use on copies (used_at, blob);

-- Each change that a client sees, in order, for events, followers and audits.
create table changes (
    number      {number},
    changed_at  {int} not null,
    actor       {text},
    -- put-manifest, delete-manifest, put-tag, delete-tag, put-blob, delete-blob
    kind        {text} not null,
    repository  {text} not null,
    digest      {blob},
    tag         {text}
) {strict};
