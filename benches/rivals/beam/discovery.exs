# How sensors become known everywhere: a `Registry` finds a node's own sensors, `:pg` those of others. `what` asks for
#
# - `storm`: one node registers all sensors at once, each other one sees them all, one more joins late, all end;
# - `join`: every node registers its share, then one more joins;
# - `death`: the owner of all sensors is killed;
# - `churn`: sensors end and come again at a pace; bytes on the wire;
# - `idle`: nothing happens; bytes on the wire, memory, threads;
# - `whereis`: look-ups of another node's sensors, and of a node's own;
# - `remote-memory`: memory of sensors on their owner, on who saw them come, on who joined late.
#
# Owners come in two kinds, since both are done: one process for all sensors of a connection, which is the cheapest, and
# one process per sensor, which is what a supervised design has.
#
# What it does not do that senza does: a sensor has no one owner (two nodes may join one group, and after a split both
# stay), a claim has no number to order it by, no hash tells whether two nodes hold the same, a look-up answers a
# process and not an epoch and a type, ids are not matched by patterns. A node that is alive but silent counts as up
# until the kernel's tick of 60 s.
# What it does that senza does not: an entry is a process that can be sent any message, its death alone ends its entry,
# and a group may have many members.

defmodule Discovery do
  @scope :sensors
  @registry Discovery.Own
  # More than there are schedulers, which is the usual number: when 100,000 processes end at once, each partition looks
  # through its mailbox again and again, for 12 s with two partitions and 0.4 s with 16.
  @partitions 16

  def params do
    [
      what: [:storm, :join, :death, :churn, :idle, :whereis, :"remote-memory"],
      sensors: 100_000,
      nodes: 2,
      kind: [:one_owner, :process_per_sensor],
      changes: 400,
      pause_us: 6_000,
      look_ups: 1_000_000,
      seconds: 2.0,
      place: [:apart]
    ]
  end

  def run(%{what: what, kind: kind} = params) do
    {metrics, account} = measure(what, params)
    {metrics, account, configuration: %{kind: kind, nodes: "a process each", id_bytes: byte_size(BeamNode.id(0))}}
  end

  # === one sort of work each ===

  defp measure(:storm, %{sensors: sensors} = params) do
    {owner, others} = start_all(params)
    begin = clock()
    registering = Task.async(fn -> register(owner, 0, sensors, params.kind) end)
    visible = seen(others, sensors) - begin
    registered = Task.await(registering, :infinity)
    account = checked(others, owner, sensors)
    {late, joined} = join([owner | others], sensors)
    begin = clock()
    ask(owner, :unregister, [owner.owner])
    unregistered = seen([late | others], 0) - begin

    {[
       register_per_s: sensors / registered,
       visible_s: visible / 1_000_000,
       join_s: joined / 1_000_000,
       unregistered_s: unregistered / 1_000_000
     ], account}
  end

  defp measure(:join, %{sensors: sensors, nodes: count} = params) do
    {owner, others} = start_all(params)
    nodes = [owner | others]

    for {node, at} <- Enum.with_index(nodes) do
      register(node, div(sensors * at, count), div(sensors * (at + 1), count), params.kind)
    end

    seen(nodes, sensors)
    {late, joined} = join(nodes, sensors)

    right =
      for {node, at} <- Enum.with_index(nodes) do
        ask(late, :right, [div(sensors * at, count), div(sensors * (at + 1), count), node.node])
      end

    {[join_s: joined / 1_000_000], account(sensors, Enum.sum(right))}
  end

  defp measure(:death, %{sensors: sensors} = params) do
    {owner, others} = registered(params)
    account = checked(others, owner, sensors)
    begin = clock()
    BeamNode.kill(owner)
    {[death_ms: (seen(others, 0) - begin) / 1_000], account}
  end

  defp measure(:churn, %{sensors: sensors, changes: changes, pause_us: pause_us} = params) do
    {owner, others} = registered(params)
    [other | _] = others
    sent = fn -> ask(owner, :sent_bytes, [other.node]) end
    before = sent.()
    changed = ask(owner, :change, [owner.owner, sensors, changes, pause_us])
    BeamNode.until(fn -> sent.() - before >= changed end)
    seen(others, sensors)
    after_all = sent.()
    {[bytes_per_change: (after_all - before) / changed], checked(others, owner, sensors)}
  end

  # All that a node says is a tick of 4 bytes to each other one, now and then: that is told, and checked.
  defp measure(:idle, %{nodes: count} = params) do
    {owner, others} = registered(params)
    account = checked(others, owner, params.sensors)
    nodes = [owner | others]
    sent = fn -> for(node <- nodes, other <- nodes, node != other, do: ask(node, :sent_bytes, [other.node])) end
    before = sent.()
    Process.sleep(round(params.seconds * 1_000))
    said = Enum.zip_with(sent.(), before, &-/2)
    ticks_per_s = 4 / :net_kernel.get_net_ticktime()
    true = Enum.max(said) <= 4 * ceil(params.seconds * ticks_per_s)

    [resident, threads] =
      for what <- [:resident, :threads], do: Enum.sum(for node <- nodes, do: ask(node, what)) / count

    {[idle_bytes_per_s: 4 * ticks_per_s * (count - 1), resident_bytes: resident, threads_per_node: threads], account}
  end

  defp measure(:whereis, %{sensors: sensors, look_ups: look_ups} = params) do
    {owner, others} = registered(params)
    {remote, latency} = ask(hd(others), :look_up, [sensors, look_ups, :pg])
    {local, _} = ask(owner, :look_up, [sensors, look_ups, :registry])
    {[whereis_per_s: remote, local_whereis_per_s: local] ++ latency, checked(others, owner, sensors)}
  end

  defp measure(:"remote-memory", %{sensors: sensors} = params) do
    {owner, others} = start_all(params)
    [first | _] = others
    [owned, empty] = [ask(owner, :memory), ask(first, :memory)]
    register(owner, 0, sensors, params.kind)
    seen(others, sensors)
    [own, saw_come] = [ask(owner, :memory), ask(first, :memory)]
    {late, _} = join([owner | others], sensors)
    joined = ask(late, :memory)

    {[
       bytes_per_remote_sensor: (joined - empty) / sensors,
       bytes_per_remote_sensor_seen_coming: (saw_come - empty) / sensors,
       bytes_per_own_sensor: (own - owned) / sensors
     ], account(sensors, ask(late, :right, [0, sensors, owner.node]))}
  end

  # === the cluster ===

  # The owner, and the others; each is connected to each. The node that measures is none of them.
  defp start_all(%{nodes: count}) do
    owner = start("owner", [])
    {owner, Enum.reduce(2..count//1, [], fn at, others -> [start("other-#{at}", [owner | others]) | others] end)}
  end

  defp registered(%{sensors: sensors, kind: kind} = params) do
    {owner, others} = start_all(params)
    register(owner, 0, sensors, kind)
    seen(others, sensors)
    {owner, others}
  end

  defp start(name, nodes) do
    started = BeamNode.start(name, connect: false)
    Map.put(started, :owner, ask(started, :meet, [Enum.map(nodes, & &1.node)]))
  end

  # A fresh node that is connected to nobody meets all; answers it, and how long until it sees so many, in microseconds.
  defp join(nodes, sensors) do
    late = BeamNode.start("late", connect: false)
    begin = clock()
    _owner = ask(late, :meet, [Enum.map(nodes, & &1.node)])
    {late, ask(late, :saw, [sensors]) - begin}
  end

  # Seconds that it took.
  defp register(node, from, to, kind), do: ask(node, :enter_all, [node.owner, from, to, kind])

  # When the last of these nodes sees so many.
  defp seen(nodes, count) do
    nodes
    |> Enum.map(fn node -> Task.async(fn -> ask(node, :saw, [count]) end) end)
    |> Task.await_many(60_000)
    |> Enum.max()
  end

  # Every other node has to know the owner of every sensor.
  defp checked(others, owner, sensors) do
    right = for other <- others, do: ask(other, :right, [0, sensors, owner.node])
    account(sensors * length(others), Enum.sum(right))
  end

  defp account(offered, arrived), do: %{offered: offered, arrived: arrived, told: 0, lost: offered - arrived}

  defp ask(node, function, args \\ []), do: node.ask.(__MODULE__, function, args)

  # === on every node ===

  def meet(nodes) do
    Enum.each(nodes, fn node -> true = Node.connect(node) end)
    serve()
  end

  # Answers the process that registers.
  def serve do
    BeamNode.stay(
      fn ->
        {:ok, _} = Registry.start_link(keys: :unique, name: @registry, partitions: @partitions)
        {:ok, _} = :pg.start_link(@scope)
      end,
      fn -> own(%{}) end
    )
  end

  # When so many are seen, of whatever nodes: the table of `:pg` has one row per group.
  def saw(count) do
    BeamNode.until(fn -> :ets.info(@scope, :size) == count end)
    clock()
  end

  def right(from, to, owner) do
    Enum.count(from..(to - 1)//1, fn at -> Enum.map(:pg.get_members(@scope, BeamNode.id(at)), &node/1) == [owner] end)
  end

  # What is in RAM, after a collection of everything.
  def memory do
    BeamNode.collect()
    BeamNode.resident()
  end

  def resident, do: BeamNode.resident()
  def threads, do: length(File.ls!("/proc/self/task"))

  # To another node.
  def sent_bytes(other) do
    {_, port} = List.keyfind(:erlang.system_info(:dist_ctrl), other, 0)
    {:ok, [send_oct: bytes]} = :inet.getstat(port, [:send_oct])
    bytes
  end

  # Not in the order of registration, from one process: how many a second, and percentiles of single ones.
  def look_up(count, look_ups, :pg), do: look_ups(count, look_ups, &:pg.get_members(@scope, &1))
  def look_up(count, look_ups, :registry), do: look_ups(count, look_ups, &Registry.lookup(@registry, &1))

  defp look_ups(count, look_ups, look_up) do
    ids = scattered(BeamNode.ids(count), count, look_ups)
    Enum.each(ids, fn id -> [_] = look_up.(id) end)
    begin = BeamNode.now()
    Enum.each(ids, fn id -> [_] = look_up.(id) end)
    per_s = look_ups / BeamNode.seconds(begin)
    histogram = Histogram.new()
    clock_ns = Enum.map(1..1_000, fn _ -> timed(fn -> :ok end) end) |> Enum.sort() |> Enum.at(500)

    Enum.each(ids, fn id ->
      Histogram.add(histogram, timed(fn -> look_up.(id) end) - clock_ns)
    end)

    {per_s,
     for({name, part} <- [p50_ns: 0.5, p99_ns: 0.99, p999_ns: 0.999], do: {name, Histogram.quantile(histogram, part)})}
  end

  # Copies in the order they are asked for, one behind the other, as ids come in a stream of messages.
  defp scattered(ids, count, look_ups) do
    Enum.map(1..look_ups, fn at -> :binary.copy(elem(ids, rem(at * 611_953, count))) end)
  end

  defp timed(work) do
    begin = System.monotonic_time(:nanosecond)
    work.()
    System.monotonic_time(:nanosecond) - begin
  end

  # === the process that registers, and those per sensor ===

  def enter_all(owner, from, to, kind) do
    ids = Enum.map(from..(to - 1)//1, &BeamNode.id/1)
    begin = BeamNode.now()
    ask_owner(owner, {:register, ids, kind})
    BeamNode.seconds(begin)
  end

  def unregister(owner), do: send(owner, :unregister)

  # Ends and registers again some sensors, scattered, at a pace.
  def change(owner, sensors, changes, pause_us) do
    pause_ms = div(pause_us + 999, 1_000)

    for round <- 0..(div(changes, 2) - 1)//1 do
      id = BeamNode.id(rem(round * 7_919, sensors))
      ask_owner(owner, {:end, id})
      Process.sleep(pause_ms)
      ask_owner(owner, {:again, id})
      Process.sleep(pause_ms)
    end

    div(changes, 2) * 2
  end

  defp ask_owner(owner, what) do
    send(owner, {what, self()})
    receive do: (:done -> :ok)
  end

  # The processes of sensors that have one, by id; the other sensors are this process's own.
  defp own(sensors) do
    receive do
      {{:register, ids, :one_owner}, from} ->
        Enum.each(ids, &enter/1)
        send(from, :done)
        own(sensors)

      {{:register, ids, :process_per_sensor}, from} ->
        sensors = for id <- ids, into: sensors, do: {id, spawn_sensor(id, self())}
        for _ <- ids, do: receive(do: (:entered -> :ok))
        send(from, :done)
        own(sensors)

      {{:end, id}, from} ->
        if sensor = sensors[id], do: end_sensor(sensor), else: leave(id)
        send(from, :done)
        own(sensors)

      {{:again, id}, from} when is_map_key(sensors, id) ->
        sensor = spawn_sensor(id, self())
        receive do: (:entered -> send(from, :done))
        own(%{sensors | id => sensor})

      {{:again, id}, from} ->
        enter(id)
        send(from, :done)
        own(sensors)

      :unregister ->
        # Its own end with it: to leave one by one, both servers would look through all the others each time.
        Enum.each(sensors, fn {_, sensor} -> send(sensor, :end) end)
    end
  end

  defp enter(id) do
    {:ok, _} = Registry.register(@registry, id, nil)
    :ok = :pg.join(@scope, id, self())
  end

  defp leave(id) do
    :ok = :pg.leave(@scope, id, self())
    :ok = Registry.unregister(@registry, id)
  end

  defp spawn_sensor(id, owner) do
    spawn(fn ->
      enter(id)
      send(owner, :entered)
      # A process that waits for long costs the least like this.
      :erlang.hibernate(__MODULE__, :wait, [])
    end)
  end

  def wait, do: receive(do: (:end -> :ok))

  # Its entries end with it.
  defp end_sensor(sensor) do
    monitor = Process.monitor(sensor)
    send(sensor, :end)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
  end

  defp clock, do: :os.system_time(:microsecond)
end
