package inventory

// Link is a network interface of the host. Its id is "mac/<permanent MAC>" for
// hardware and "name/<name>" for a virtual one; the kernel's index is an
// attribute because it changes with every reboot.
type Link struct {
	Name      string    `json:"name"`
	Index     int       `json:"index"`
	Type      string    `json:"type"`  // "device", "bridge", "vlan", "bond", "vxlan", "veth", "tun", ...
	State     string    `json:"state"` // operational: "up", "down", "unknown", ...
	AdminUp   bool      `json:"admin_up"`
	MAC       string    `json:"mac,omitempty"`
	MTU       int       `json:"mtu"`
	SpeedMbps int       `json:"speed_mbps,omitempty"`
	Driver    string    `json:"driver,omitempty"`
	Master    string    `json:"master,omitempty"` // name of the bridge or bond it is a port of
	Lower     string    `json:"lower,omitempty"`  // name of the link it sits on
	Addresses []Address `json:"addresses,omitempty"`
	VLAN      *VLAN     `json:"vlan,omitempty"`
	Bond      *Bond     `json:"bond,omitempty"`
	VXLAN     *VXLAN    `json:"vxlan,omitempty"`
	Bridge    *Bridge   `json:"bridge,omitempty"`
}

// Address is one address of a link. Temporary and tentative flags are left out:
// they change by themselves.
type Address struct {
	CIDR  string `json:"cidr"`            // "192.0.2.2/24", "2001:db8::1/64"
	Scope string `json:"scope,omitempty"` // "global", "link", "host"
	Peer  string `json:"peer,omitempty"`  // far end of a point-to-point link
}

// VLAN is an 802.1Q or 802.1ad tag on another link.
type VLAN struct {
	ID       int    `json:"id"`
	Protocol string `json:"protocol,omitempty"` // "802.1q", "802.1ad"
}

// Bond is a bundle of links.
type Bond struct {
	Mode   string   `json:"mode"` // "802.3ad", "active-backup", ...
	Active string   `json:"active,omitempty"`
	Ports  []string `json:"ports,omitempty"`
}

// VXLAN is an overlay link.
type VXLAN struct {
	VNI    int    `json:"vni"`
	Local  string `json:"local,omitempty"`
	Remote string `json:"remote,omitempty"` // peer or multicast group
	Port   int    `json:"port,omitempty"`
}

// Bridge is a Linux bridge.
type Bridge struct {
	STP           bool     `json:"stp"`
	VLANFiltering bool     `json:"vlan_filtering"`
	Ports         []string `json:"ports,omitempty"`
}

// Route is a default route.
type Route struct {
	Family   string `json:"family"` // "ipv4", "ipv6"
	Gateway  string `json:"gateway,omitempty"`
	Link     string `json:"link,omitempty"`
	Source   string `json:"source,omitempty"`
	Metric   int    `json:"metric,omitempty"`
	Protocol string `json:"protocol,omitempty"` // "kernel", "static", "dhcp", ...
}

// OVSBridge is an Open vSwitch bridge.
type OVSBridge struct {
	Name         string    `json:"name"`
	DatapathType string    `json:"datapath_type,omitempty"`
	DatapathID   string    `json:"datapath_id,omitempty"`
	FailMode     string    `json:"fail_mode,omitempty"`
	Controllers  []string  `json:"controllers,omitempty"`
	Ports        []OVSPort `json:"ports,omitempty"`
}

// OVSPort is a port of an Open vSwitch bridge.
type OVSPort struct {
	Name       string   `json:"name"`
	Tag        int      `json:"tag,omitempty"`
	Trunks     []int    `json:"trunks,omitempty"`
	Interfaces []string `json:"interfaces,omitempty"` // "name (type)"
}

// Network is a libvirt virtual network.
type Network struct {
	Active     bool     `json:"active"`
	Persistent bool     `json:"persistent"`
	Autostart  bool     `json:"autostart"`
	Bridge     string   `json:"bridge,omitempty"`
	Forward    string   `json:"forward,omitempty"` // "nat", "route", "bridge", ...; empty: isolated
	Addresses  []string `json:"addresses,omitempty"`
}
