-- What an estimate of an order's end is made of: items that have not ended, and how long the last of a workflow took.

CREATE INDEX hook_item_ahead ON hook_item (priority, workflow, status) WHERE phase <> 'ended';
CREATE INDEX hook_item_took ON hook_item (workflow, completed_at DESC) WHERE status = 'completed' AND started_at IS NOT NULL;
