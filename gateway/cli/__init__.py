"""pilot-gateway …"""
