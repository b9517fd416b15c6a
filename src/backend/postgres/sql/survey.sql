select g.is_outlived, g.is_buried, s.*
from (
    select exists (select from worker where expires < $1) or exists (select from lock where deadline < $1)
            or exists (select from receipt where until < $1)
            as is_outlived,
        exists (select from buried_shelf) as is_buried
) g left join (
    select s.id, s.namespace_id, d.is_due, m.may_make, s.next_continuous,
        t.rows >= $2 as is_long,
        coalesce(t.finished > $3::bigint, false) as finished_more,
        coalesce(t.failed > $3::bigint, false) as failed_more,
        o.has_old
    from spec s cross join lateral (
        select exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 3 and u.due <= $1)
            or exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 2 and u.due <= $1)
            as is_due
    ) d cross join lateral (
        select s.continuous and not s.paused and coalesce(s.next_continuous <= $1, true)
            and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 1)
            and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 2)
            and not exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 3)
            as may_make
    ) m cross join lateral (
        select count(*) as rows,
            sum(finished - archived_finished) as finished, sum(failed - archived_failed) as failed
        from tally where shelf_id = s.shelf_id
    ) t cross join lateral (
        select $5::bigint is not null and (
            exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 4 and u.ends >= $4 and u.ends < $5)
            or exists (select from unit u where u.shelf_id = s.shelf_id and u.status = 5 and u.ends >= $4 and u.ends < $5)
        ) as has_old
    ) o
) s on s.is_due or s.may_make or s.is_long or s.finished_more or s.failed_more or s.has_old
