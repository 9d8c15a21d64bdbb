defmodule Senza.SensorRegistry do
  @moduledoc """
  Which process stands for which sensor, on any node of the cluster.

      :ok = Senza.SensorRegistry.register("watch 1", self())
      {:ok, pid} = Senza.SensorRegistry.whereis("watch 1")      # on this node
      {:remote, "a"} = Senza.SensorRegistry.whereis("watch 1")  # on every other one

  A registration ends with its process. A sensor has one owner in the whole cluster: registering it here takes it over
  from another node, whose look-ups then answer `{:remote, node}`.

  It is a registry for `:via`, where names are ids of sensors, or `{node, id}` for a node that is not called `Senza`:

      GenServer.start_link(MySensor, [], name: {:via, Senza.SensorRegistry, "watch 1"})
      GenServer.call({:via, Senza.SensorRegistry, "watch 1"}, :latest)

  `:via` reaches processes of this VM alone.
  """

  alias Senza.{Error, Native, Server, Shadow}

  @page_max 1_000

  @typedoc "An id, or an id on the node of another name than `Senza`."
  @type name :: String.t() | {Senza.node_name(), String.t()}

  @doc """
  Registers a sensor for a process of this VM, until it ends.

  Once more for the same process is `:ok` again. Options: `type`, `meta` (a map), and `conflict`, which says what
  becomes of a sensor that another *node* owns: `:takeover` (the default: the device is here now), `:refuse`, or
  `:force`, which also passes the holdoff after a takeover.
  """
  @spec register(name, pid, keyword) ::
          :ok | {:error, {:already_registered, pid}} | {:error, :noproc} | {:error, Error.t()}
  def register(name, pid, options \\ []) do
    {ref, id} = place(name)
    Senza.register_for(ref, id, pid, options, false)
  end

  @doc "Ends the registration of a sensor of this node, whoever made it. `:ok` also where there was none."
  @spec unregister(name) :: :ok | {:error, Error.t()}
  def unregister(name) do
    {ref, id} = place(name)

    case Native.unregister(ref, id) do
      was when is_boolean(was) -> :ok
      fault -> Error.of(fault)
    end
  end

  @doc """
  Where a sensor is: its process, the name of the node that owns it, or that nobody does.

  `{:error, :no_process}` is a sensor of this node that came by a front door and has no process.
  """
  @spec whereis(name) :: {:ok, pid} | {:remote, String.t()} | {:error, :not_found | :no_process | Error.t()}
  def whereis(id) when is_binary(id) do
    case :persistent_term.get({Senza.SensorRegistry, Senza}, nil) do
      ref when is_reference(ref) -> answered(Native.whereis(ref, id))
      other -> elsewhere(other, Senza, id)
    end
  end

  def whereis({node, id}) do
    case :persistent_term.get({Senza.SensorRegistry, node}, nil) do
      ref when is_reference(ref) -> answered(Native.whereis(ref, id))
      other -> elsewhere(other, node, id)
    end
  end

  def whereis(other), do: raise(ArgumentError, "a sensor's name must be an id or {node, id}, got: #{inspect(other)}")

  defp answered({:senza_error, _, _, _} = fault), do: Error.of(fault)
  defp answered(found), do: found

  defp elsewhere(%Shadow{} = shadow, _node, id), do: Shadow.whereis(shadow, id)
  defp elsewhere(nil, node, id), do: answered(Native.whereis(Server.ref(node), id))

  @doc "The ids of all sensors of the cluster."
  @spec get_all_sensor_ids() :: [String.t()]
  def get_all_sensor_ids, do: get_all_sensor_ids(Senza)

  @doc "The same, by the node of another name."
  @spec get_all_sensor_ids(Senza.node_name()) :: [String.t()]
  def get_all_sensor_ids(node), do: node |> Senza.ref() |> all_ids(nil, [])

  # In pages: a term of all ids would hold a scheduler when it is collected.
  defp all_ids(ref, from, before) do
    case Native.ids(ref, from, @page_max) do
      {ids, nil} -> [ids | before] |> Enum.reverse() |> Enum.concat()
      {ids, next} -> all_ids(ref, next, [ids | before])
      fault -> raise elem(Error.of(fault), 1)
    end
  end

  # === :via ===

  @doc """
  For `:via`: `:yes`, or `:no` where another process of this node has the name or `pid` is gone.

  What the engine refuses otherwise, such as a sensor that is held off, raises the `Senza.Error`: a `:no` would have
  `GenServer.start_link/3` say that a process was started already which there is not. So it answers
  `{:error, {%Senza.Error{}, stacktrace}}`.
  """
  @spec register_name(name, pid) :: :yes | :no
  def register_name(name, pid) do
    case register(name, pid) do
      :ok -> :yes
      {:error, {:already_registered, _}} -> :no
      {:error, :noproc} -> :no
      {:error, error} -> raise error
    end
  end

  @doc "For `:via`: ends a registration."
  @spec unregister_name(name) :: :ok
  def unregister_name(name) do
    unregister(name)
    :ok
  end

  @doc "For `:via`: the process of a sensor of this node, or `:undefined`."
  @spec whereis_name(name) :: pid | :undefined
  def whereis_name(name) do
    {ref, id} = place(name)

    case Native.whereis_name(ref, id) do
      # Nobody has a name that is no id.
      {:senza_error, reason, _, _} when reason in [:closed, :invalid_id] -> :undefined
      {:senza_error, _, _, _} = fault -> Error.of(fault)
      found -> found
    end
  end

  @doc "For `:via`: sends a message to the process of a sensor of this node."
  @spec send(name, message) :: message when message: term
  def send(name, message) do
    case whereis_name(name) do
      pid when is_pid(pid) -> Kernel.send(pid, message)
      :undefined -> :erlang.error(:badarg, [name, message])
    end
  end

  defp place({node, id}), do: {Server.ref(node), id}
  defp place(id), do: {Server.ref(Senza), id}
end
